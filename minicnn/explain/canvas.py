"""What all figures share: sizes, colours, and a Figure that belongs to no window and no global state."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
SMALL, MEDIUM, LARGE = 8, 9, 10  # points
GREY, RULE = "#4d4d4d", "#d0d0d0"


def blank(size: tuple[float, float], compress: bool = False) -> "Figure":
    """A figure of this many inches without axes; compress: axes of fixed aspect are moved together."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06, compress=compress)
    figure = Figure(figsize=size, dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
