"""Trajectories that move over a landscape, as a matplotlib animation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors
from levysde.escape import Paths
from levysde.plots.landscape import landscape as draw_landscape
from levysde.plots.paths import chosen_coordinates, frame_paths, track
from levysde.plots.style import COLOURS, MARKERS, axes, is_framed
from levysde.types import Arg, Integer, Number, Numbers

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

    from levysde.protocols import Domain, Landscape


def animate(
    paths: Arg[Paths],
    landscape: Arg["Landscape | None"] = None,
    *,
    ax: "Axes | None" = None,
    bounds: Arg[Numbers | None] = None,
    domain: Arg["Domain | None"] = None,
    coordinates: Arg[Sequence[Integer]] = (0, 1),
    tail: Arg[Integer | None] = None,
    milliseconds: Arg[Number] = 50,
) -> "FuncAnimation":
    """Animate `paths` with one frame for each recorded time.

    A trajectory that has left stays at its first point outside, with a filled mark.

    In a notebook: `IPython.display.HTML(plots.animate(paths, landscape).to_jshtml())`. To a file:
    `plots.animate(paths, landscape).save("escape.gif", writer="pillow")`. Keep a reference to it
    while it runs.

    Args:
        paths: a `Paths` of at least two dimensions, best with evenly spaced times.
        landscape: contour lines to move over, as for `plots.landscape`, or None.
        ax: axes to draw on; a new figure by default.
        bounds: of the contour lines, as for `plots.landscape`.
        domain: a basin whose edge is drawn, or None; needs the landscape.
        coordinates: the two that span the plane.
        tail: number of previous times that are drawn as a trail; all by default.
        milliseconds: duration of a frame.

    Returns:
        A `matplotlib.animation.FuncAnimation`.

    Raises:
        TypeError, ValueError: arguments of another kind, fewer than two dimensions, a domain or
            bounds without a landscape.
    """
    from matplotlib.animation import FuncAnimation  # slow to import

    errors.instance("paths", paths, Paths, "simulate_paths(...)")
    chosen = chosen_coordinates(coordinates, paths.dim)
    if len(chosen) != 2:
        raise ValueError(
            f"an animation needs two coordinates, not {coordinates!r}. For example "
            "coordinates=(0, 1)."
        )
    tail = len(paths.times) + 1 if tail is None else errors.integer("tail", tail)
    pause = errors.positive_real("milliseconds", milliseconds)
    if landscape is None and (bounds is not None or domain is not None):
        raise ValueError("bounds and domain belong to the contour lines. Pass the landscape too.")
    ax = axes(ax)
    tracks = [track(paths, i, chosen) for i in range(paths.num)]
    if landscape is not None:
        draw_landscape(landscape, ax=ax, bounds=bounds, domain=domain)
    elif not is_framed(ax):
        frame_paths(ax, [(points[:, 0], points[:, 1]) for _, points in tracks], chosen)
    ax.set(xlabel=f"$x_{{{chosen[0]}}}$", ylabel=f"$x_{{{chosen[1]}}}$")
    artists = [_artists(ax, i) for i in range(paths.num)]
    clock = ax.set_title("", fontsize="medium")

    def draw(frame: int) -> list[Any]:
        now = paths.times[frame]
        clock.set_text(f"time {now:.4g} ({paths.unit})")
        for i, ((times, points), (line, head)) in enumerate(zip(tracks, artists, strict=True)):
            seen = int(np.searchsorted(times, now, side="right"))
            gone = bool(paths.exited[i]) and now >= paths.end_time[i]
            line.set_data(*points[max(0, seen - tail) : seen].T)
            head.set_data(*points[max(0, seen - 1) : seen].T)
            head.set_markerfacecolor(head.get_color() if gone else ax.get_facecolor())
        return [clock, *(part for pair in artists for part in pair)]

    figure = ax.get_figure(root=True)
    assert figure is not None
    draw(0)
    figure.canvas.draw()
    # keep this layout: finding it anew takes most of the time of a frame
    figure.set_layout_engine("none")
    return FuncAnimation(figure, draw, frames=len(paths.times), interval=pause, blit=False)


def _artists(ax: "Axes", i: int) -> tuple[Any, Any]:
    """The trail and the head of path `i`, without data yet."""
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    (line,) = ax.plot([], [], color=colour, linewidth=1.0, zorder=2.5)
    (head,) = ax.plot([], [], color=colour, marker=marker, markersize=7, zorder=4)
    return line, head
