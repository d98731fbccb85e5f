"""HTML, escaped: whatever comes from outside passes through here before it reaches the page."""

from collections.abc import Iterable, Sequence
from html import escape


def text(value: str) -> str:
    """Escape text for the inside of an element; a minus sign is set as one."""
    escaped = escape(value)
    return f"−{escaped[1:]}" if escaped[:1] == "-" and escaped[1:2].isdigit() else escaped


def attribute(value: str) -> str:
    """Return a quoted, escaped attribute value."""
    return f'"{escape(value)}"'


def sign_class(value: float | None) -> str:
    """Return the class that colors a gain or a loss."""
    return "" if not value else "gain" if value > 0 else "loss"


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, kind: str = ""
) -> str:
    """Return a table of ready cells (td or th elements) with a caption for screen readers."""
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{text(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def row_head(value: str) -> str:
    """Return the first cell of a row."""
    return f'<th scope="row">{text(value)}</th>'


def cell(value: str, *, sign: float | None = None) -> str:
    """Return a number's cell, colored by `sign` where it has one."""
    return f'<td class="n {sign_class(sign)}">{text(value)}</td>'


def bar_cell(start: float, end: float, *, kind: str) -> str:
    """Return a cell with a bar from `start` to `end`, fractions of its width."""
    left, width = min(start, end) * 100, abs(end - start) * 100
    return (
        '<td class="bar" aria-hidden="true"><span class="track">'
        f'<span class="{kind}" style="left:{left:.2f}%;width:{width:.2f}%"></span></span></td>'
    )
