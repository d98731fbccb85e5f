"""One script per contestant. Each prints one JSON line: what it did, and what it cost."""
