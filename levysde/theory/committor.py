"""The probability to reach one set before another, from every point of a line or a plane. Float64.

For `dX = b(X) dt + sqrt(2 D(X)) dW` (Ito) and two sets, the committor q(x) is the probability that
a path from x reaches the destination before the source. It solves

    b . grad q + D : grad grad q = 0,    q = 0 on the source, q = 1 on the destination

(E and Vanden-Eijnden, J. Stat. Phys. 123, 2006). On a line it is a quadrature of the scale function
(`levysde.theory.first_passage`).

In the plane the equation is solved on a grid, as that of a Markov chain on the cells: along each
axis, and along one diagonal if the noise is correlated, a cell goes to its two neighbours, at the
distances `t+` and `t-`, at the rates

    2 / (t+ + t-) D / t+ B(-b t+ / D),    2 / (t+ + t-) D / t- B(b t- / D),    B(z) = z / (e^z - 1)

(Scharfetter and Gummel, IEEE Trans. Electron Devices 16, 1969; Kushner and Dupuis, Numerical
Methods for Stochastic Control Problems in Continuous Time, 2001, section 5.3). The rates are never
negative, so that q lies between 0 and 1 for any drift. A neighbour in one of the sets is replaced
by the place where the way to it meets the set, so that the error falls as the square of the cells.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy

from levysde import errors
from levysde.interfaces import contained
from levysde.parts import in_float64
from levysde.protocols import Domain
from levysde.results import Result
from levysde.tables import Table
from levysde.theory.coefficients import (
    Diffusion,
    PointFunction,
    check_coefficients,
    check_set,
    coefficients_at,
)
from levysde.theory.first_passage import log_integrals, log_scale, panel_points
from levysde.types import Arg, Integer, Numbers

_BISECTIONS = 40
_COARSER = 3  # factor between two grids that share the centers of cells
_BENT = 0.2  # of the largest second difference of values: an error that the cells may have
_ACCURATE = 0.01  # error above which a warning is issued
_ROUNDING = 1e-6  # largest error of the two probabilities' sum


@dataclass(frozen=True, repr=False)
class Committor(Result):
    """The probability to reach the destination before the source, as `committor` gives it.

    Attributes:
        axes: coordinates of the grid, one vector for each dimension.
        values: q on the grid, `(n,)` or `(n, n)`, indexed in the order of `axes`.
        error: estimated error of `values`, the largest on the grid; on a line also of `value`
            between its points.
    """

    axes: tuple[np.ndarray, ...]
    values: np.ndarray
    error: float

    def value(self, x: Arg[Numbers]) -> np.ndarray | float:
        """q at points `x`, `(..., d)`, in the box of the grid; interpolated linearly."""
        dim = len(self.axes)
        places = errors.reals("x", x, f"x=jnp.zeros({dim})")
        if places.shape[-1:] != (dim,):
            raise ValueError(f"x must have shape (..., {dim}), not {places.shape}. Give points.")
        low, after, high = (np.array([axis[i] for axis in self.axes]) for i in (0, 1, -1))
        nearest = np.clip(places, low, high)
        if (np.abs(places - nearest) > after - low).any():
            raise ValueError(
                f"x must lie in the box of the grid, from {low} to {high}, but reaches from "
                f"{places.min()} to {places.max()}. Compute the committor on a larger box."
            )
        found = scipy.interpolate.interpn(self.axes, self.values, nearest)
        return float(found[0]) if places.ndim == 1 else found

    def _table(self) -> Table:
        return Table(
            "Committor",
            [
                ("dimensions", f"{len(self.axes)}"),
                ("grid", " x ".join(f"{len(axis)}" for axis in self.axes)),
                ("estimated error", f"{self.error:.2g}"),
                ("share of the grid above 1/2", f"{np.mean(self.values > 0.5):.3g}"),
            ],
        )


def committor(
    drift: Arg[PointFunction],
    diffusion: Arg[Diffusion],
    *,
    source: Arg[Domain],
    destination: Arg[Domain],
    lower: Arg[Numbers],
    upper: Arg[Numbers],
    num_cells: Arg[Integer] = 150,
) -> Committor:
    """The probability that a path of `dX = b(X) dt + sqrt(2 D(X)) dW` (Ito) reaches one set before
    another, from each point of a grid in one or two dimensions.

    On a line the values on the grid are found by quadrature, and `error` is mostly that of the
    straight lines between them. In the plane, the error is estimated from a grid
    with a third of the cells along each side, and from how much the values bend between cells.
    Paths are reflected at the box.

    Args:
        drift: b, a function of a point `(d,)` to `(d,)`, written with `jax.numpy`; d is 1 or 2.
        diffusion: D: a number, `(d,)` for a diagonal, `(d, d)`, or a function of a point that
            returns one of these; positive definite.
        source: the set where the probability is 0; it may be any `Domain`.
        destination: the set where the probability is 1.
        lower: lower ends of the box, `(d,)`, or a number on a line.
        upper: upper ends of the box, `(d,)`, or a number.
        num_cells: cells along each side, at least 30; rounded up to a multiple of 3. Parts of the
            sets that are thinner than three cells may be missed.

    Returns:
        The probability on the grid, and its estimated error.

    Raises:
        TypeError: a drift or diffusion that is no function of a point; sets of another kind.
        ValueError: bad numbers or shapes; more than two dimensions; a set without a point of the
            grid, or two sets that overlap; a diffusion that is not positive definite, or too
            correlated for the shape of the cells.
        RuntimeError: the equation cannot be solved in float64.

    Source:
        E and Vanden-Eijnden, J. Stat. Phys. 123 (2006).
    """
    ends = [np.atleast_1d(errors.reals(n, v)) for n, v in (("lower", lower), ("upper", upper))]
    dim = ends[0].size
    if ends[0].shape != ends[1].shape or ends[0].shape not in ((1,), (2,)):
        raise ValueError(
            f"lower and upper must be two vectors of one or of two numbers, not of shapes "
            f"{ends[0].shape} and {ends[1].shape}. For example lower=[-2.0, -1.0]."
        )
    if not (ends[0] < ends[1]).all():
        raise ValueError(f"lower must be below upper, not {ends[0]} and {ends[1]}. Swap them.")
    check_set("source", source, dim)
    check_set("destination", destination, dim)
    cells = errors.integer("num_cells", num_cells, low=30, high=3000)
    cells = _COARSER * -(-cells // _COARSER)
    b, d = check_coefficients(drift, diffusion, dim)
    with in_float64((source, destination)) as sets:
        solve = _on_line if dim == 1 else _in_plane
        problem = _Problem(b, d, sets, *ends)
        found = solve(problem, cells)
    if found.error > _ACCURATE:
        note = (
            f"the committor is not resolved: its estimated error is {found.error:.2g}. Give more "
            f"num_cells than {cells}."
        )
        warnings.warn(errors.AccuracyWarning(note), stacklevel=3)  # past the wrapper of names
    return found


@dataclass(frozen=True)
class _Problem:
    drift: PointFunction
    diffusion: Any
    sets: tuple[Domain, Domain]
    lower: np.ndarray
    upper: np.ndarray

    def coefficients(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return coefficients_at(self.drift, self.diffusion, x, "between the two sets")

    def held(self, x: np.ndarray) -> np.ndarray:
        """0 between the sets, 1 in the source, 2 in the destination."""
        within = [np.asarray(contained(domain, jnp.asarray(x))) for domain in self.sets]
        if (both := within[0] & within[1]).any():
            raise ValueError(
                f"source and destination overlap, for example at {x[both][0]}. Give disjoint sets."
            )
        for name, points in zip(("source", "destination"), within, strict=True):
            if not points.any():
                raise ValueError(
                    f"{name} contains no point of a grid of {len(x)} points. Give a larger set, a "
                    "box around it, or more num_cells."
                )
        return within[0] + 2 * within[1]

    def crossing(self, free: np.ndarray, held: np.ndarray) -> np.ndarray:
        """The share of the way from points between the sets to points in them, at which it meets
        the set, `(n,)`."""
        low, high = np.zeros(len(free)), np.ones(len(free))
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            x = jnp.asarray(free + middle[:, None] * (held - free))
            within = np.logical_or(*(np.asarray(contained(domain, x)) for domain in self.sets))
            low, high = np.where(within, low, middle), np.where(within, middle, high)
        return np.maximum(high, 1e-6)


def _on_line(problem: _Problem, cells: int) -> Committor:
    nodes = np.linspace(problem.lower[0], problem.upper[0], cells + 1)
    held = problem.held(nodes[:, None])
    values, error = (held == 2).astype(float), 0.0
    edges = np.flatnonzero(np.diff(held > 0, prepend=True, append=True))
    for first, end in edges.reshape(-1, 2):  # nodes between two sets, or a set and a wall
        beside = [k for k in (first - 1, end) if 0 <= k <= cells]
        if len(beside) == 1 or values[beside[0]] == values[beside[1]]:
            values[first:end] = values[beside[0]]
            continue
        free, sets = nodes[[first, end - 1], None], nodes[beside, None]
        walls = free[:, 0] + problem.crossing(free, sets) * (sets - free)[:, 0]
        panels = np.concatenate([walls[:1], nodes[first:end], walls[1:]])
        problem.coefficients(panels[:, None])  # the quadrature looks between them
        finer = np.sort(np.concatenate([panels, (panels[1:] + panels[:-1]) / 2]))
        fine = _scale_share(problem, finer)
        share = fine[::2][1:-1]
        bends = np.abs(fine[1::2] - (fine[:-1:2] + fine[2::2]) / 2)[1:-1]
        error = max(
            error,
            float(np.abs(share - _scale_share(problem, panels)[1:-1]).max()),
            float(bends.max(initial=0)),  # of the straight line of `value`
        )
        left, right = values[beside]
        values[first:end] = left + (right - left) * share
    return Committor((nodes,), values, error)


def _scale_share(problem: _Problem, edges: np.ndarray) -> np.ndarray:
    """The scale function at the edges, from 0 at the first to 1 at the last."""
    half, z = panel_points(edges)
    b, d = problem.coefficients(z.reshape(-1, 1))
    to = log_integrals(log_scale((b[:, 0] / d[:, 0, 0]).reshape(z.shape), half), half)[2]
    return np.exp(to - to[-1])


def _in_plane(problem: _Problem, cells: int) -> Committor:
    axes, fine, free = _chain(problem, cells)
    coarse = _chain(problem, cells // _COARSER)[1]
    shared = slice(_COARSER // 2, None, _COARSER)
    # at least of first order in the cells, the finer error is at most this share of the difference
    error = float(np.abs(fine[shared, shared] - coarse).max()) / (_COARSER - 1)
    # a jump between two points may be missed by both grids; the layer beside a set is resolved
    for q, ok in ((fine, free), (fine.T, free.T)):
        apart = np.lib.stride_tricks.sliding_window_view(ok, 5, axis=0).all(-1)
        bends = np.abs(np.diff(q[1:-1], 2, axis=0))[apart]
        error = max(error, _BENT * float(bends.max(initial=0)))
    return Committor(axes, fine, error)


def _chain(problem: _Problem, cells: int) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """The committor of the Markov chain on the centers of the cells: axes, values, and which cells
    are between the sets."""
    steps = (problem.upper - problem.lower) / cells
    x, y = (low + (np.arange(cells) + 0.5) * h for low, h in zip(problem.lower, steps, strict=True))
    points = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    held = problem.held(points)
    free = np.flatnonzero(held == 0)
    b, d = problem.coefficients(points[free])
    across = d[:, 0, 1]
    along = d[:, [0, 1], [0, 1]] - np.abs(across)[:, None] * steps / steps[::-1]
    if (along < -1e-9 * np.abs(d).max()).any():
        raise ValueError(
            f"diffusion is too correlated for cells of {steps[0]:.3g} by {steps[1]:.3g}: at x = "
            f"{points[free][along.min(1).argmin()]} it is {d[along.min(1).argmin()].tolist()}. "
            "Choose lower and upper such that the sides are as the roots of its diagonal."
        )
    rows, columns, rates = [], [], []
    for shift, noise, flow in (
        ((1, 0), along[:, 0] / steps[0] ** 2, b[:, 0] / steps[0]),
        ((0, 1), along[:, 1] / steps[1] ** 2, b[:, 1] / steps[1]),
        ((1, 1), np.maximum(across, 0) / steps.prod(), np.zeros(len(free))),
        ((1, -1), np.maximum(-across, 0) / steps.prod(), np.zeros(len(free))),
    ):
        place = np.stack(np.divmod(free, cells), 1)
        beside = [place + side * np.array(shift) for side in (1, -1)]
        within = [((to >= 0) & (to < cells)).all(1) for to in beside]
        number = [np.where(ok, to @ [cells, 1], 0) for to, ok in zip(beside, within, strict=True)]
        ways = np.ones((2, len(free)))
        for way, ok, to in zip(ways, within, number, strict=True):
            cut = ok & (held[to] > 0)
            way[cut] = problem.crossing(points[free[cut]], points[to[cut]])
        noise = np.maximum(noise, 1e-12 * np.abs(flow) + 1e-300)
        for side, way, ok, to in zip((1, -1), ways, within, number, strict=True):
            rate = 2 / ways.sum(0) * noise / way * _bernoulli(-side * flow * way / noise)
            rows.append(np.flatnonzero(ok))
            columns.append(to[ok])
            rates.append(rate[ok])
    row, column, rate = (np.concatenate(parts) for parts in (rows, columns, rates))
    leave = scipy.sparse.csr_array((rate, (row, column)), shape=(len(free), len(points)))
    matrix = scipy.sparse.diags_array(leave.sum(1)) - leave[:, free]
    values = (held == 2).astype(float)
    values[free] = _probability(matrix, leave @ values, leave @ (held == 1).astype(float))
    return (x, y), values.reshape(cells, cells), (held == 0).reshape(cells, cells)


def _probability(matrix: Any, to_destination: np.ndarray, to_source: np.ndarray) -> np.ndarray:
    try:
        solve: Callable = scipy.sparse.linalg.splu(matrix.tocsc(), "MMD_AT_PLUS_A").solve
        destination, source = solve(to_destination), solve(to_source)
    except RuntimeError:  # exactly singular
        destination = source = np.array([np.nan])
    gap = float(np.abs(destination + source - 1).max())
    if not gap < _ROUNDING:
        raise RuntimeError(
            "the committor cannot be computed in float64: the probabilities of the two sets differ "
            f"from 1 by {gap:.1e} in sum. Paths stay too long in a part of the box that belongs to "
            "neither. Add this part to source or destination, or give more diffusion."
        )
    return destination


def _bernoulli(z: np.ndarray) -> np.ndarray:
    """`z / (e^z - 1)`."""
    small = np.abs(z) < 1e-8
    safe = np.where(small, 1.0, np.minimum(z, 700.0))
    return np.where(small, 1 - z / 2, safe / np.expm1(safe))
