"""A two-dimensional loss as contour lines, with its minima, its saddles and the basin's edge."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.interfaces import check_domain
from levysde.plots.style import axes, drawn, frame, ink, legend
from levysde.protocols import Domain, Landscape
from levysde.types import Arg, Integer, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HIGHEST = 0.9  # contour lines end at this quantile of the values in view
_FINER = 7  # points along each side of a cell on the edge
_LABELLED = 4  # every fourth line is labelled with its height


def landscape(
    landscape: Arg[Landscape],
    *,
    ax: "Axes | None" = None,
    bounds: Arg[Numbers | None] = None,
    levels: Arg[Integer | Numbers] = 16,
    domain: Arg[Domain | None] = None,
    points: Arg[Integer] = 201,
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw contour lines of a loss of two parameters. Some are labelled with their height, in units
    of the loss.

    Heights are closer near the lowest value, so that the lines of a quadratic well are evenly
    spaced.

    Args:
        landscape: a `Landscape` with `dim` 2. Its `minima` and `saddles` are marked if known.
        ax: axes to draw on; a new figure by default. Later layers (`paths`, `exit_places`) keep its
            limits.
        bounds: `((low, high), (low, high))` of the two parameters; around the minima by default.
        levels: the number of lines, or their increasing heights.
        domain: a basin whose edge is drawn as a dashed line, or None.
        points: number of grid points along each side.
        artist: keywords for the lines, as for `Axes.contour`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: arguments of another kind, a dimension other than 2, bounds in the
            wrong order, no finite value.
    """
    errors.concrete(
        "landscape", errors.instance("landscape", landscape, Landscape, "DoubleWell(dim=2)")
    )
    errors.instance("domain", domain, Domain | None, "Ball(radius=1.0, center=jnp.zeros(2))")
    if domain is not None:
        check_domain(domain)
    for name, part in (("landscape", landscape), ("domain", domain)):
        if part is not None and part.dim != 2:
            raise ValueError(
                f"contour lines need two dimensions, but the {name} has {part.dim}. Draw a "
                "two-dimensional one."
            )
    lines_wanted = _as_levels(levels)
    points = errors.integer("points", points, low=2, high=2001)
    marks = {
        name: np.asarray(getattr(landscape, name, np.zeros((0, 2))))
        for name in ("minima", "saddles")
    }
    if not len(marks["minima"]):
        marks["minima"] = np.asarray(landscape.minimum)[None]
    (x, y), view = _view(bounds, np.concatenate(list(marks.values())), points)
    ax = axes(ax, artist)
    values = _heights_on(landscape, x, y)
    lines = drawn(
        ax.contour,
        x,
        y,
        values,
        artist=artist,
        colors=ink(ax),
        levels=_heights(lines_wanted, values),
        alpha=0.45,
        linewidths=0.7,
    )
    ax.clabel(
        lines,
        np.asarray(lines.levels)[_LABELLED - 1 :: _LABELLED],
        fontsize=7,
        fmt="%.3g",
        colors=[ink(ax)],
    )
    for (name, places), marker in zip(marks.items(), ("o", "X"), strict=True):
        if len(places):
            label = {"minima": "minimum", "saddles": "saddle"}[name]
            ax.plot(*places.T, marker, color=ink(ax), markersize=6, label=label, zorder=3)
    cover = np.ones((2, 2)) if domain is None else _cover(domain, x, y)
    if cover.min() < 0.5 < cover.max():
        ax.contour(x, y, cover, levels=[0.5], colors=[ink(ax)], linestyles="--", linewidths=1.4)
        ax.plot([], [], color=ink(ax), linestyle="--", linewidth=1.4, label="edge of the basin")
    frame(ax, *view)
    ax.set(xlabel="$x_0$", ylabel="$x_1$")
    legend(ax)
    return ax


def _view(
    bounds: Arg[Numbers | None], marks: np.ndarray, points: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple]:
    """Coordinates of the grid, and the limits."""
    example = "bounds=((-2, 2), (-1, 1))"
    if bounds is None:
        low, high = marks.min(0), marks.max(0)
        wide = max(float((high - low).max()), 1.0)
        view = np.stack([low - 0.6 * wide, high + 0.6 * wide], 1)
    else:
        view = errors.reals("bounds", bounds, example, (2, 2))
        if not (view[:, 0] < view[:, 1]).all():
            raise ValueError(
                "bounds must be (low, high) of each parameter, low first, not "
                f"{errors.shown(bounds)}. Type {example}."
            )
    x, y = (np.linspace(low, high, points) for low, high in view)
    return (x, y), (tuple(view[0]), tuple(view[1]))


def _grid(x: np.ndarray, y: np.ndarray) -> Array:
    return jnp.asarray(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), dtype=float)


def _heights_on(landscape: Landscape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The loss, NaN where it is not finite; shape `(len(y), len(x))`."""
    values = np.asarray(_values(landscape, _grid(x, y)), float).reshape(len(y), len(x))
    if not np.isfinite(values).any():
        raise ValueError("the loss is finite nowhere in these bounds. Choose others.")
    return np.where(np.isfinite(values), values, np.nan)


def _cover(domain: Domain, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The share of the cell around each grid point that is in the basin. Its level line at 1/2 is
    smooth."""
    inside = np.asarray(_contains(domain, _grid(x, y))).reshape(len(y), len(x))
    padded = np.pad(inside, 1, mode="edge")
    near = [
        padded[1 + i : len(y) + 1 + i, 1 + j : len(x) + 1 + j]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    row, column = np.nonzero(np.any(near, 0) & ~np.all(near, 0))
    if not len(row):
        return inside.astype(float)
    steps = np.linspace(-1, 1, _FINER)
    fine = np.stack(np.meshgrid(steps * (x[1] - x[0]), steps * (y[1] - y[0])), -1).reshape(1, -1, 2)
    # padded to a power of two, so that few programs are compiled
    pad = np.arange(2 ** (len(row) - 1).bit_length()) % len(row)
    around = np.stack([x[column], y[row]], 1)[pad, None] + fine
    share = (
        np.asarray(_contains(domain, jnp.asarray(around.reshape(-1, 2), dtype=float)))
        .reshape(len(pad), -1)
        .mean(1)
    )
    cover = inside.astype(float)
    cover[row, column] = share[: len(row)]
    return cover


@eqx.filter_jit
def _values(landscape: Landscape, grid: Array) -> Array:
    return jax.vmap(landscape.value)(grid)


@eqx.filter_jit
def _contains(domain: Domain, grid: Array) -> Array:
    return jax.vmap(domain.contains)(grid)


def _as_levels(levels: Arg[Integer | Numbers]) -> int | np.ndarray:
    """The number of lines, or their heights."""
    if isinstance(levels, int) and not isinstance(levels, bool):
        return errors.integer("levels", levels, high=200)
    heights = errors.reals("levels", levels)
    if heights.ndim != 1 or (np.diff(heights) <= 0).any():
        raise ValueError(
            f"levels must be a number of lines or increasing heights, not {errors.shown(levels)}. "
            "Type levels=16."
        )
    return heights


def _heights(levels: int | np.ndarray, values: np.ndarray) -> np.ndarray:
    if isinstance(levels, np.ndarray):
        return levels
    low, high = np.nanmin(values), np.nanquantile(values, _HIGHEST)
    return low + (high - low) * (np.arange(1, levels + 1) / levels) ** 2
