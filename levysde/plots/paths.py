"""Trajectories, in a plane of two coordinates or as one coordinate against time, exit places, and
paths of least action.

The legend counts what lies beyond the axes' limits.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors
from levysde.escape import EscapeResult, Paths, check_places
from levysde.plots.style import (
    COLOURS,
    LINES,
    MARKERS,
    axes,
    drawn,
    frame,
    ink,
    is_framed,
    legend,
    limits,
    outside,
)
from levysde.theory import MinimumAction
from levysde.types import Arg, Integer, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# how series are found again
_PATH, _PLACES, _SHARES = "levysde: path", "levysde: places", "levysde: shares"
_ACTION = "levysde: action"
_NAMED = 6  # largest number of paths with a name each
_JOINED = 100  # largest number of exits whose last step is drawn
_TICKED = 12  # largest number of eigenvalues that are written as ticks


def paths(
    paths: Arg[Paths],
    *,
    ax: "Axes | None" = None,
    coordinates: Arg[Sequence[Integer] | None] = None,
    label: Arg[str | None] = None,
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw trajectories as lines, each with a mark at its end: filled at the first point outside,
    hollow if it has not left.

    Args:
        paths: a `Paths`.
        ax: axes to draw on, for example those of `plots.landscape`, whose limits are kept; a new
            figure by default.
        coordinates: two that span the plane, or one that is drawn against time. (0, 1) by default,
            0 in one dimension.
        label: one name and one look for all trajectories. By default each has its own look, and up
            to six have a name.
        artist: keywords for the lines, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: arguments of another kind, a coordinate that does not exist.
    """
    errors.instance("paths", paths, Paths, "simulate_paths(...)")
    chosen = chosen_coordinates(coordinates, paths.dim)
    ax = axes(ax, artist, label="" if label is None else label)
    lines = [_line(paths, i, chosen) for i in range(paths.num)]
    if not is_framed(ax):
        frame_paths(ax, lines, chosen)
    ends = np.array([[x[-1], y[-1]] for x, y in lines], float)
    hidden = outside(ax, ends)
    earlier = len({line.get_gid() for line in ax.lines if (line.get_gid() or "").startswith(_PATH)})
    for i, (x, y) in enumerate(lines):
        number = earlier + (0 if label is not None else i)
        colour = COLOURS[number % len(COLOURS)]
        drawn(
            ax.plot,
            x,
            y,
            artist=artist,
            color=colour,
            zorder=2.5,
            linewidth=1.0 if len(chosen) == 1 else 0.7,
            linestyle=LINES[number % len(LINES)] if len(chosen) == 1 else "-",
            marker=MARKERS[number % len(MARKERS)],
            markersize=6,
            markevery=[len(x) - 1],
            markeredgecolor=ink(ax) if paths.exited[i] else colour,
            markerfacecolor=colour if paths.exited[i] else ax.get_facecolor(),
            gid=f"{_PATH} {number}",
            label=_name(paths, i, hidden, label),
        )
    names = [f"$x_{{{k}}}$" for k in chosen]
    ax.set(xlabel=names[0] if len(chosen) == 2 else f"time ({paths.unit})", ylabel=names[-1])
    legend(ax)
    return ax


def track(paths: Paths, i: int, chosen: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Times `(n,)` and points `(n, len(chosen))` of path `i`: those inside, then the first point
    outside."""
    inside = paths.inside[i]
    times, points = paths.times[inside], paths.positions[i, inside]
    if paths.exited[i]:
        times = np.append(times, paths.end_time[i])
        points = np.concatenate([points, paths.first_outside[i, None]])
    return times, points[:, list(chosen)].astype(float)


def _line(paths: Paths, i: int, chosen: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    times, points = track(paths, i, chosen)
    return (points[:, 0], points[:, 1]) if len(chosen) == 2 else (times, points[:, 0])


def frame_paths(ax: "Axes", lines: list, chosen: tuple[int, ...]) -> None:
    """Set the limits by the points inside, since one far jump would hide all else."""
    x = np.concatenate([line[0][:-1] for line in lines] + [line[0][:1] for line in lines])
    y = np.concatenate([line[1][:-1] for line in lines] + [line[1][:1] for line in lines])
    if len(chosen) == 2:
        frame(ax, limits(x, 0.3), limits(y, 0.3))
    else:
        last = max(float(line[0][-1]) for line in lines)
        frame(ax, (0.0, 1.02 * last or 1.0), limits(y, 0.3))


def _name(paths: Paths, i: int, hidden: np.ndarray, label: str | None) -> str | None:
    """The name of path `i` in the legend."""
    if label is not None:
        out = int((hidden & paths.exited).sum())
        left = (
            f": {int(paths.exited.sum())} of {paths.num} left" if paths.domain is not None else ""
        )
        return label + left + (f", {out} beyond the frame" if out else "") if i == 0 else None
    if paths.num > _NAMED:
        return None
    beyond = " beyond the frame" if hidden[i] else ""
    end = (
        f", left at {paths.end_time[i]:.4g}"
        if paths.exited[i]
        else ", inside"
        if paths.domain is not None
        else ""
    )
    return f"trajectory {paths.ids[i]}{end}{beyond}"


def exit_places(
    result: Arg[EscapeResult | Paths],
    *,
    ax: "Axes | None" = None,
    coordinates: Arg[Sequence[Integer]] = (0, 1),
    label: Arg[str | None] = None,
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw the first points outside, with one marker for each exit set; for up to 100 exits, also
    the last step.

    Args:
        result: an `EscapeResult` or `Paths`.
        ax: axes to draw on, whose limits are kept if they show a landscape; a new figure by
            default.
        coordinates: the two that span the plane.
        label: their name in the legend; "exits" by default.
        artist: keywords for the marks, as for `Axes.scatter`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: arguments of another kind, fewer than two dimensions, no exit.
    """
    errors.instance("result", result, EscapeResult | Paths, "simulate_escape(...)")
    check_places(result)
    chosen = chosen_coordinates(coordinates, result.first_outside.shape[1])
    if len(chosen) != 2:
        raise ValueError(
            f"exit places need two coordinates, not {coordinates!r}. For example "
            "coordinates=(0, 1)."
        )
    if not result.exited.any():
        raise ValueError(
            "no trajectory left: there is nothing to draw. Run longer, or raise epsilon."
        )
    before, after, sets = (
        rows[result.exited] for rows in (result.last_inside, result.first_outside, result.label)
    )
    before, after = (rows[:, list(chosen)].astype(float) for rows in (before, after))
    ax = axes(ax, artist, label="" if label is None else label)
    if not is_framed(ax):
        low, high = np.quantile(after, [0.05, 0.95], axis=0)
        seen = np.concatenate([before, low[None], high[None]])
        frame(ax, limits(seen[:, 0], 0.15), limits(seen[:, 1], 0.15))
    earlier = sum(c.get_gid() == _PLACES for c in ax.collections)
    groups = np.unique(sets)
    for number, group in enumerate(groups):
        here = sets == group
        name = (label or "exits") + (f" through set {group}" if len(groups) > 1 else "")
        hidden = outside(ax, after[here]).sum()
        beyond = f" ({hidden} beyond the frame)" if hidden else ""
        look: dict[str, Any] = {
            "s": 18,
            "linewidths": 0.9,
            "facecolors": "none",
            "alpha": 0.9,
            "zorder": 3,
            "edgecolors": COLOURS[(earlier + number) % 4],
            "marker": MARKERS[(earlier + number) % 4],
            "label": f"{name}, {here.sum()}{beyond}",
        }
        drawn(ax.scatter, *after[here].T, gid=_PLACES, artist=artist, **look)
        if here.sum() <= _JOINED:
            _steps(ax, before[here], after[here], look | (artist or {}))
    for axis, k in zip((ax.xaxis, ax.yaxis), chosen, strict=True):
        axis.set_label_text(f"$x_{{{k}}}$")
    legend(ax)
    return ax


def _steps(ax: "Axes", before: np.ndarray, after: np.ndarray, look: dict) -> None:
    """Draw the last step of each exit as a thin line."""
    from matplotlib.collections import LineCollection  # slow to import

    colour = look.get("edgecolors", look.get("color"))
    lines = LineCollection(
        list(np.stack([before, after], 1)), colors=[colour], linewidths=0.5, alpha=0.5, zorder=2
    )
    ax.add_collection(lines, autolim=False)


def action_paths(
    action: Arg[MinimumAction],
    *,
    ax: "Axes | None" = None,
    coordinates: Arg[Sequence[Integer]] = (0, 1),
    label: Arg[str] = "least action",
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw the path of least action, with a dot at the attractor and a cross at its end, and other
    local minima of the action as dotted lines.

    Args:
        action: a `MinimumAction`, from `theory.minimum_action`.
        ax: axes to draw on, for example those of `plots.landscape`, whose limits are kept; a new
            figure by default.
        coordinates: the two that span the plane.
        label: its name in the legend, to which the action is added.
        artist: keywords for the lines, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: arguments of another kind, a coordinate that does not exist.
    """
    errors.instance("action", action, MinimumAction, "theory.minimum_action(...)")
    chosen = chosen_coordinates(coordinates, action.path.shape[1])
    if len(chosen) != 2:
        raise ValueError(
            f"paths of least action need two coordinates, not {coordinates!r}. For example "
            "coordinates=(0, 1)."
        )
    ax = axes(ax, artist, label=label)
    lines = action.paths[:, :, list(chosen)]
    if not is_framed(ax):
        frame(ax, limits(lines[..., 0], 0.15), limits(lines[..., 1], 0.15))
    number = len(
        {line.get_gid() for line in ax.lines if (line.get_gid() or "").startswith(_ACTION)}
    )
    for i, (line, value) in enumerate(zip(lines, action.actions, strict=True)):
        drawn(
            ax.plot,
            *line.T,
            artist=artist,
            color=COLOURS[number % len(COLOURS)],
            linewidth=0.9 if i else 1.8,
            linestyle=":" if i else "-",
            zorder=2.5,
            gid=f"{_ACTION} {number}",
            label=None if i else f"{label}, V = {value:.4g}",
        )
    ax.plot(*lines[0, 0], "o", color=ink(ax), markersize=5, zorder=3)
    ax.plot(*lines[0, -1], "x", color=ink(ax), markersize=6, zorder=3)
    ax.set(xlabel=f"$x_{{{chosen[0]}}}$", ylabel=f"$x_{{{chosen[1]}}}$")
    legend(ax)
    return ax


def exit_directions(
    eigenvalues: Arg[Numbers],
    shares: Arg[Numbers],
    intervals: Arg[Numbers],
    *,
    predicted: Arg[Numbers | None] = None,
    label: Arg[str | None] = "measured",
    ax: "Axes | None" = None,
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Share of the exits' squared displacement along each Hessian eigenvector, with intervals, and
    what a law predicts.

    The arguments are the fields of `analysis.exit_directions`. Call it again with the same `ax` for
    a second series.

    Args:
        eigenvalues: of the Hessian, shape `(d,)`.
        shares: shape `(d,)`.
        intervals: their lower and upper ends, shape `(d, 2)`.
        predicted: shape `(d,)`, or None.
        label: the series' name in the legend.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the points, as for `Axes.errorbar`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: arrays of something else than finite numbers, shapes that do not fit;
            what matplotlib has against `artist`.
    """
    eigenvalues = errors.reals("eigenvalues", eigenvalues)
    shares = errors.reals("shares", shares)
    intervals = errors.reals("intervals", intervals)
    num = eigenvalues.size
    if eigenvalues.ndim != 1 or shares.shape != (num,) or intervals.shape != (num, 2):
        raise ValueError(
            "eigenvalues, shares and intervals must have shapes (d,), (d,) and (d, 2), "
            f"not {eigenvalues.shape}, {shares.shape} and {intervals.shape}."
        )
    if predicted is not None:
        predicted = errors.reals("predicted", predicted, "law.ray_share, or None", (num,))
    ax = axes(ax, artist, label=label)
    number = sum(line.get_gid() == _SHARES for line in ax.lines)
    place = np.arange(num) + 0.12 * number
    bars = drawn(
        ax.errorbar,
        place,
        shares,
        yerr=np.abs(intervals.T - shares),
        artist=artist,
        color=COLOURS[number % 4],
        marker=MARKERS[number % 4],
        markersize=5,
        capsize=3,
        linestyle="none",
        label=label,
    )
    bars.lines[0].set_gid(_SHARES)
    if predicted is not None:
        ax.plot(
            place,
            predicted,
            "_",
            color=ink(ax),
            markersize=max(3.0, 22.0 - num),
            markeredgewidth=1.6,
            label=f"law, for {label}",
        )
    xlabel = "Hessian eigenvector, from the flattest to the sharpest"
    if num <= _TICKED:
        ax.set_xticks(np.arange(num), [f"{value:.3g}" for value in eigenvalues])
        xlabel = "eigenvalue of the Hessian"
    ax.set(
        xlim=(-0.6, num - 0.4 + 0.12 * number),
        ylim=(0, max(ax.get_ylim()[1], 1.05 * min(1.0, intervals.max()))),
        xlabel=xlabel,
        ylabel="share of squared exit displacement",
    )
    legend(ax)
    return ax


def chosen_coordinates(coordinates: Arg[Sequence[Integer] | None], dim: int) -> tuple[int, ...]:
    if coordinates is None:
        return (0, 1) if dim > 1 else (0,)
    chosen = tuple(coordinates) if isinstance(coordinates, tuple | list) else (coordinates,)
    chosen = tuple(errors.integer("coordinates", k, low=0, high=dim - 1) for k in chosen)
    if len(chosen) not in (1, 2):
        raise ValueError(
            f"coordinates must be one or two, not {errors.shown(coordinates)}. For example "
            "coordinates=(0, 1)."
        )
    return chosen
