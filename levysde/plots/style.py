"""What all figures share: axes, colours, line styles and markers.

Colours have middle lightness, so that they are readable on white and on dark pages. Reference lines
have the colour of the axes' text. Line styles and markers distinguish series without colour.
Nothing is set globally.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors
from levysde.types import Arg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2b83ba", "#d95f02", "#1b9e77", "#b0569b")
MARKERS = ("o", "s", "D", "^")
# solid, dashed, dotted, dash-dotted
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_BELOW = -34.0  # points from the axes to a legend below them: room for ticks and label
FRAME = "levysde: frame"  # marks axes with fixed limits, which later layers keep


def axes(ax: "Axes | None", artist: Arg[dict[str, Any] | None] = None, **words: Arg[Any]) -> "Axes":
    """`ax`, or the axes of a new figure. Checks the arguments that all figures share: `artist`, and
    texts."""
    for name, text in words.items():
        errors.word(name, text)
    if not (
        artist is None or (isinstance(artist, dict) and all(isinstance(key, str) for key in artist))
    ):
        raise TypeError(
            f"artist must be a dict of keywords, not {errors.shown(artist)}. For example "
            f'{{"color": "k"}}.'
        )
    if ax is not None:
        from matplotlib.axes import Axes  # slow to import

        return errors.instance("ax", ax, Axes, "plt.subplots()[1]")
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def drawn(method: Callable, *data: Any, artist: Arg[dict[str, Any] | None], **look: Any) -> Any:
    """Call `method(*data)` with a look, which the user's keywords override. Raises ValueError if
    matplotlib refuses them."""
    try:
        return method(*data, **(look | (artist or {})))
    # matplotlib raises AttributeError for an unknown keyword, ValueError for a wrong colour
    except Exception as error:
        if not artist:
            raise
        raise ValueError(
            f"artist = {errors.shown(artist)} is refused by matplotlib ({error}). Give keywords of "
            f"Axes.{method.__name__}."
        ) from None


def ink(ax: "Axes") -> Any:
    """The colour of the axes' text: black on a white page, white on a dark one."""
    return ax.xaxis.label.get_color()


def legend(ax: "Axes", columns: int = 2) -> None:
    """Draw a legend with each name once: below the axes if the figure has a layout engine, which
    makes room for it, else in a corner."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
    names = list(dict.fromkeys(labels))
    figure = ax.get_figure(root=True)
    look: dict[str, Any] = {
        "loc": "upper right",
        "framealpha": 0.8,
        "facecolor": ax.get_facecolor(),
    }
    if figure is not None and figure.get_layout_engine() is not None:
        from matplotlib.transforms import offset_copy  # slow to import

        below = offset_copy(ax.transAxes, fig=figure, y=_BELOW, units="points")
        look = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0),
            "bbox_transform": below,
            "ncols": columns,
            "frameon": False,
        }
    ax.legend([first[name] for name in names], names, fontsize="small", **look)


def is_framed(ax: "Axes") -> bool:
    """Whether the axes' limits have been chosen by `frame`."""
    return ax.get_gid() == FRAME


def frame(ax: "Axes", x: tuple[float, float], y: tuple[float, float]) -> None:
    """Fix the axes' limits, also for later layers."""
    ax.set(xlim=x, ylim=y, autoscale_on=False, gid=FRAME)


def limits(values: np.ndarray, margin: float = 0.1) -> tuple[float, float]:
    """The range of the finite values, with a margin on both sides."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (-1.0, 1.0)
    wide = (high - low) or max(abs(high), 1e-3)
    return low - margin * wide, high + margin * wide


def outside(ax: "Axes", points: np.ndarray) -> np.ndarray:
    """Which of the points `(k, 2)` lie beyond the axes' limits."""
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    return ~(
        (points[:, 0] >= left)
        & (points[:, 0] <= right)
        & (points[:, 1] >= bottom)
        & (points[:, 1] <= top)
    )
