"""HTML from values: whatever comes in as text is escaped, on its way into the page and nowhere else."""

import base64
import html
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minicnn.explain import figures

LONG = 24  # rows; a longer table is folded away


class Markup(str):
    """Text that is HTML already."""


def escape(value: Any) -> Markup:
    """value as HTML: Markup as it is, anything else escaped, quotes included."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def element(name: str, *content: Any, **attributes: str) -> Markup:
    """<name attributes>content</name>; an attribute `kind` is the class."""
    written = "".join(f' {"class" if k == "kind" else k}="{html.escape(v)}"' for k, v in attributes.items())
    return Markup(f"<{name}{written}>{''.join(map(escape, content))}</{name}>")


def section(heading: str, *content: Any) -> Markup:
    """A part of the page under its heading; nothing where there is no content."""
    kept = [c for c in content if c]
    return element("section", element("h2", heading), "\n", *kept) if kept else Markup()


def bullets(items: Sequence[Any]) -> Markup:
    """A list; nothing where it is empty."""
    return element("ul", *(element("li", item) for item in items)) if items else Markup()


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    foot: Sequence[Any] = (),
    text: Sequence[int] = (),
    best: int | None = None,
) -> Markup:
    """A table in a box that scrolls by itself; folded away where it has more than LONG rows.

    text  columns of words, at the left; the other ones are numbers, at the right.  The first is each row's heading.
    best  the row to set off
    """
    sides: list[dict[str, str]] = [{} if k in (0, *text) else {"kind": "number"} for k in range(len(head))]

    def line(cells: Sequence[Any], **attributes: str) -> Markup:
        first, *others = cells
        tail = (element("td", c, **side) for c, side in zip(others, sides[1:], strict=True))
        return element("tr", element("th", first, scope="row"), *tail, **attributes)

    lines = [line(row, **({"kind": "best"} if k == best else {})) for k, row in enumerate(rows)]
    heads = (element("th", h, scope="col", **side) for h, side in zip(head, sides, strict=True))
    body = [element("thead", element("tr", *heads)), "\n", element("tbody", Markup("\n".join(lines)))]
    body += [element("tfoot", line(foot))] if foot else []
    whole = element("table", *body)
    box = element("div", whole, kind="scroll", role="region", tabindex="0", **{"aria-label": caption})
    if len(lines) > LONG:
        box = element("details", element("summary", f"Show all {len(lines)} rows"), box)
    return element("figure", element("figcaption", caption), "\n", box, kind="table")


def picture(draw: Callable[..., Any], alt: str, caption: str) -> Markup:
    """The figure that draw(stacked=False) returns, and the stacked one for a narrow screen."""
    wide, narrow = (_source(draw(stacked=stacked)) for stacked in (False, True))
    source = f'<source media="(max-width: 42rem)" srcset="{narrow[0]}" width="{narrow[1]}" height="{narrow[2]}">'
    image = f'<img src="{wide[0]}" width="{wide[1]}" height="{wide[2]}" alt="{html.escape(alt)}">'
    return element("figure", element("picture", Markup(source + image)), "\n", element("figcaption", caption))


def interval_bar(low: float, at: float, high: float) -> Markup:
    """Where at and the interval around it lie between 0 and 1, as a drawing."""
    style = f"--low:{100 * low:.1f}%;--at:{100 * at:.1f}%;--high:{100 * high:.1f}%"
    return element("span", element("i"), element("b"), kind="range", style=style, **{"aria-hidden": "true"})


def percent(share: float) -> str:
    """0.5918 as "59.2 %", which no line break parts."""
    return f"{100 * share:.1f}\u00a0%"


def between(interval: tuple[float, float]) -> str:
    """(0.575, 0.607) as "57.5 to 60.7 %"."""
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}"


def number(value: float, digits: int = 4) -> str:
    """A measured quantity: so many decimals, or significant digits where decimals say nothing."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.{digits}g}"


def _source(figure: Any) -> tuple[str, int, int]:
    """A figure as a data URL, and its width and height in CSS pixels: 120 to the inch, so letters of 13 pixels."""
    width, height = figure.get_size_inches()
    data = base64.b64encode(figures.png(figure)).decode()
    return f"data:image/png;base64,{data}", round(120 * width), round(120 * height)
