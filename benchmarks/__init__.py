"""What is measured and how, against peers, as ratios within one run: `python -m benchmarks`."""
