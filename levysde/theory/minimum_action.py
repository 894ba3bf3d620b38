"""The least action of a path from an attractor, and the path, for a drift that need not be a
gradient: the quasi-potential of Freidlin and Wentzell. Float64.

`dX = b(X) dt + sqrt(2 T) S(X) dW` (Ito), `D = S S'`, and

    V = min int |S^-1 (X' - b)|^2 / 4 dt = min int (|p'| |b| - <p', b>) / 2 ds

over all paths and durations (left) or over all curves p (right), with `<u, v> = u' D(p)^-1 v`
(Heymann and Vanden-Eijnden, Comm. Pure Appl. Math. 61, 2008). D has the units of `Langevin` and
`quasi_potential`: for `b = -grad F` and D the identity, V is the height of F. In the convention
`sqrt(epsilon) dW` the action is twice this V, and epsilon is 2 T.

The curve is a polygon (`levysde.theory.action_path`). The error of n segments falls as `1 / n^2`,
so that two resolutions give the limit (Richardson) where three of them show this order.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy

from levysde import errors
from levysde.interfaces import contained, ray_distances
from levysde.parts import in_float64
from levysde.protocols import Domain
from levysde.results import Result
from levysde.tables import Table, listed
from levysde.theory.action_path import ActionProblem, lengths, normals, settle
from levysde.theory.coefficients import (
    Diffusion,
    PointFunction,
    check_coefficients,
    check_set,
    coefficients_at,
    linearised,
)
from levysde.types import Arg, Integer, Numbers

_DIMS = (2, 10)
_LEVELS = 2  # doublings from the coarsest polygon to the finest
_ORDER = (3.0, 5.0)  # ratio of two differences that shows the second order
_ROUNDED = 1e-8  # of the action: smallest error that is reported
_ACCURATE = 0.01  # error relative to the action, above which a warning is issued
_AT_REST = 1e-4  # distance from the point of rest, relative to that of the end
_HEIGHTS = (0.25, 0.5, 0.75)  # of initial arcs, relative to the distance of their ends
_RAYS = 32  # to the boundary, for each dimension
_APART = 0.95  # cosine of the angle between two exit points, above which they start one path
_SAME = 0.03  # of the length: paths that are nowhere further apart are one
_FIRST = (12, 24)  # segments of the first paths to a boundary
_CUTS = 5  # times a path is cut where it leaves the domain before its end


@dataclass(frozen=True, repr=False)
class MinimumAction(Result):
    """The least action of a path and the path, as `minimum_action` gives them.

    Attributes:
        action: V, the least action found: the quasi-potential of the end of the path, and the
            exponent of the mean exit time, which grows as exp(V / T).
        action_error: estimated error of `action`, from paths of fewer segments.
        path: the path, `(num_segments + 1, d)`, in steps of equal length.
        actions: of all local minima that were found, ascending, `(k,)`; the first is `action`.
        paths: their paths, `(k, num_segments + 1, d)`.
        num_starts: initial paths that were tried.
        num_converged: initial paths that led to a local minimum.
        warnings: caveats, a tuple of sentences.
    """

    action: float
    action_error: float
    path: np.ndarray
    actions: np.ndarray
    paths: np.ndarray
    num_starts: int
    num_converged: int
    warnings: tuple[str, ...] = ()

    def _table(self) -> Table:
        return Table(
            "MinimumAction",
            [
                ("action V", f"{self.action:.6g}"),
                ("estimated error", f"{self.action_error:.2g}"),
                ("from", listed(self.path[0])),
                ("to", listed(self.path[-1])),
                ("length of the path", f"{lengths(self.path).sum():.4g}"),
                ("segments", f"{len(self.path) - 1}"),
                ("actions of local minima", listed(self.actions, ".6g")),
                ("converged initial paths", f"{self.num_converged} of {self.num_starts}"),
            ],
            self.warnings,
        )


def minimum_action(
    drift: Arg[PointFunction],
    diffusion: Arg[Diffusion] = 1.0,
    *,
    start: Arg[Numbers],
    end: Arg[Numbers | None] = None,
    domain: Arg[Domain | None] = None,
    num_segments: Arg[Integer] = 256,
    num_starts: Arg[Integer | None] = None,
) -> MinimumAction:
    """The least action of a path of `dX = b(X) dt + sqrt(2 T) S(X) dW`, `D = S S'`, that leaves an
    attractor: to a point, or to the boundary of a domain. The drift need not be a gradient.

    The action of a path is `int |S^-1 (X' - b)|^2 / 4 dt`, and its least value V the
    quasi-potential: the logarithm of the mean exit time is V / T to leading order as T falls. If D
    is given with T in it, V / T is returned. For `b = -grad F` and D the identity, V is the height
    of F, as in `Langevin(landscape, diffusion=T)`; in the convention `sqrt(epsilon) dW` the action
    is twice this V.

    Several initial paths are tried: to a point, the straight line and arcs to its sides; to a
    boundary, straight lines to different exit points. A lower minimum that none of them leads to is
    not found. The boundary counts as far as straight rays from `start` reach it.

    Args:
        drift: b, a function of a point `(d,)` to `(d,)`, written with `jax.numpy`; 2 to 10
            dimensions.
        diffusion: D: a number, `(d,)` for a diagonal, `(d, d)`, or a function of a point that
            returns one of these; positive definite. The identity by default.
        start: the attractor, `(d,)`: b is 0 there and leads back from all sides.
        end: where the path ends, `(d,)`: for example a saddle; or
        domain: a set around `start` whose boundary the path ends on.
        num_segments: of the finest path, at least 128, a multiple of 4. The error is estimated
            from paths of a half and a quarter of them.
        num_starts: initial paths; `2 d + 4` by default.

    Returns:
        The action, its error, the path, and the other local minima that were found.

    Raises:
        TypeError: a drift or diffusion that is no function of a point; another kind of domain.
        ValueError: bad numbers or shapes; a start that is no attractor, or that is the end or
            outside the domain; a diffusion that is not positive definite; a domain without a
            boundary at a finite place; both or none of `end` and `domain`.
        RuntimeError: no initial path converged to a local minimum.

    Source:
        Freidlin and Wentzell, Random Perturbations of Dynamical Systems (1984), chapter 4; Heymann
        and Vanden-Eijnden, Comm. Pure Appl. Math. 61 (2008).
    """
    place, target = _checked_ends(start, end, domain)
    dim = len(place)
    b, d = check_coefficients(drift, diffusion, dim)
    finest = errors.integer("num_segments", num_segments, low=128, high=2**14)
    if finest % 2**_LEVELS:
        raise ValueError(
            f"num_segments must be a multiple of 4, not {finest}. Type {finest // 4 * 4}."
        )
    num = 2 * dim + 4 if num_starts is None else errors.integer("num_starts", num_starts, high=1000)
    with in_float64(domain) as precise:
        problem = ActionProblem(b, d, place, _precision(b, d, place), precise, finest)
        if target is None:
            initial, notes = _rays(problem, num)
        else:
            initial, notes = _arcs(problem, target, num), []
        _check_at_rest(problem, min(lengths(path).sum() for path in initial))
        explored = [_explore(problem, path) for path in initial]
        minima = [_refine(problem, path) for path in _distinct(explored)]
        return _result(problem, explored, minima, notes)


def _checked_ends(
    start: Arg[Numbers], end: Arg[Numbers | None], domain: Arg[Domain | None]
) -> tuple[np.ndarray, np.ndarray | None]:
    place = errors.reals("start", start, "start=jnp.zeros(2)")
    if place.ndim != 1 or not _DIMS[0] <= len(place) <= _DIMS[1]:
        raise ValueError(
            f"start must have shape (d,) with d from {_DIMS[0]} to {_DIMS[1]}, not {place.shape}. "
            "For example start=jnp.zeros(2). In one dimension use first_passage."
        )
    if (end is None) == (domain is None):
        given = "neither" if end is None else "both"
        raise ValueError(
            f"give exactly one of end and domain, not {given}. For example end=jnp.zeros(2)."
        )
    if domain is None:
        target = errors.reals("end", end, f"end=jnp.zeros({len(place)})", place.shape)
        if np.linalg.norm(target - place) <= 1e-9 * np.linalg.norm(place):
            raise ValueError(
                f"end = {target} is the start, and the action of no path is 0. Give another end."
            )
        return place, target
    check_set("domain", domain, len(place))
    if not bool(domain.contains(jnp.asarray(place))):
        raise ValueError(f"start = {place} is not inside {domain!r}. Give a domain around it.")
    return place, None


def _precision(b: PointFunction, d: Any, place: np.ndarray) -> np.ndarray:
    """`C^-1` of `V = x' C^-1 x / 2` near the attractor."""
    _, noise = coefficients_at(b, d, place[None], "at the start")
    flow = -np.asarray(linearised(b, jnp.asarray(place))[1])
    slowest = float(np.linalg.eigvals(flow).real.min()) if np.isfinite(flow).all() else np.nan
    if not slowest > 0:
        raise ValueError(
            f"start = {place} is not an attractor: an eigenvalue of the drift's Jacobian has the "
            f"real part {-slowest:.3g} there, which must be negative. Give a stable point of rest."
        )
    covariance = scipy.linalg.solve_continuous_lyapunov(flow, 2 * noise[0])
    return np.linalg.inv((covariance + covariance.T) / 2)


def _check_at_rest(problem: ActionProblem, reach: float) -> None:
    def flow(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = linearised(problem.drift, jnp.asarray(x))
        return np.asarray(value), np.asarray(slope)

    value, slope = flow(problem.start)
    if np.linalg.norm(np.linalg.solve(slope, value)) > _AT_REST * reach:
        found = scipy.optimize.root(flow, problem.start, jac=True)
        hint = f" A point of rest is at {found.x.tolist()}." if found.success else ""
        raise ValueError(
            f"start = {problem.start} is not at rest: drift is {value} there, and must be 0.{hint} "
            "Give the attractor as start."
        )


def _arcs(problem: ActionProblem, end: np.ndarray, num: int) -> list[np.ndarray]:
    """The straight line, and arcs and waves on all sides of it."""
    t, chord = _parameter(problem), end - problem.start
    sides = normals(chord)
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal(2 * (len(sides),)))[0]
    sides = np.linalg.norm(chord) * np.concatenate([turned @ sides, -turned @ sides])
    paths = [problem.start + t * chord]
    for k in range(num - 1):
        cycle, number = divmod(k // len(sides), len(_HEIGHTS))
        shape = _HEIGHTS[number] * np.sin((1 + cycle) * np.pi * t)
        paths.append(paths[0] + shape * sides[k % len(sides)])
    return paths


def _parameter(problem: ActionProblem) -> np.ndarray:
    return np.linspace(0, 1, _coarsest(problem) + 1)[:, None]


def _coarsest(problem: ActionProblem) -> int:
    return problem.most // 2**_LEVELS


def _rays(problem: ActionProblem, num: int) -> tuple[list[np.ndarray], list[str]]:
    """Straight lines to those points of the boundary where they cost least, apart from each other;
    and a caveat if parts of the boundary are out of sight."""
    start, domain, dim = problem.start, problem.domain, len(problem.start)
    assert domain is not None
    rays = np.random.default_rng(0).standard_normal((_RAYS * dim, dim))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    far = np.asarray(ray_distances(domain, jnp.asarray(start), jnp.asarray(rays)))
    rays, far = rays[np.isfinite(far)], far[np.isfinite(far)]
    if not len(far):
        raise ValueError(
            f"domain = {domain!r} has no boundary at a finite place, so nothing leaves it. Give a "
            "bounded one."
        )
    ends = far[:, None] * rays
    lines = start + _parameter(problem) * ends[:, None]
    costs = np.array([problem.terms(line)[0] for line in lines])
    chosen: list[int] = []
    for i in np.argsort(costs):
        if np.isfinite(costs[i]) and all(rays[i] @ rays[j] < _APART for j in chosen):
            chosen.append(int(i))
    behind = start + (np.linspace(1.02, 3, 50)[:, None, None] * ends).reshape(-1, dim)
    hidden = not domain.convex and bool(np.any(contained(domain, jnp.asarray(behind))))
    note = (
        "parts of the domain are hidden from start behind other parts of its boundary: exits there "
        "were not searched. Give end=... there, and compare the actions."
    )
    return [lines[i] for i in chosen[:num]], [note] if hidden else []


def _first_outside(problem: ActionProblem, path: np.ndarray) -> int:
    """Number of the first node outside the domain; that of the end if there is none before."""
    last = len(path) - 1
    if problem.domain is None:
        return last
    within = np.asarray(contained(problem.domain, jnp.asarray(path)))
    # near its end a path may touch the boundary
    outside = np.flatnonzero(~within[: int(0.98 * last)])
    return int(outside[0]) if len(outside) else last


Explored = tuple[np.ndarray, float, bool]  # a path, its action, whether that is a local minimum


def _explore(problem: ActionProblem, path: np.ndarray) -> Explored:
    """A local minimum near an initial path, which ends where it first leaves the domain."""
    # an end on the boundary moves by about a segment in a step: the first ones are long
    for num in _FIRST if problem.domain is not None else ():
        path = settle(problem, path, num)[0]
    for _ in range(_CUTS):
        path, total, good = settle(problem, path, _coarsest(problem))
        k = _first_outside(problem, path)
        if k == len(path) - 1:
            return path, total, good
        path = np.concatenate([path[:k], problem.end_on(path[k])[None]])
    return path, np.inf, False


def _distinct(explored: list[Explored]) -> list[np.ndarray]:
    """The paths that converged, each once."""
    found: list[np.ndarray] = []
    for path in [path for path, _, good in explored if good]:
        near = _SAME * lengths(path).sum()
        if all(np.linalg.norm(path - other, axis=1).max() > near for other in found):
            found.append(path)
    return found


def _refine(problem: ActionProblem, path: np.ndarray) -> tuple[float, float, np.ndarray, bool]:
    """Action, error, path and whether it converged, from the three finest resolutions."""
    totals, good = [], True
    for level in range(_LEVELS + 1):
        path, total, good = settle(problem, path, problem.most // 2 ** (_LEVELS - level))
        totals.append(total)
    before, last = np.diff(totals)
    if _ORDER[0] * abs(last) < abs(before) < _ORDER[1] * abs(last) and before * last > 0:
        return totals[-1] + last / 3, abs(last) / 3, path, good
    return totals[-1], max(abs(before), abs(last), _ROUNDED * totals[-1]), path, good


def _result(
    problem: ActionProblem,
    explored: list[Explored],
    minima: list[tuple[float, float, np.ndarray, bool]],
    notes: list[str],
) -> MinimumAction:
    failed = [total for _, total, good in explored if not good]
    failed += [found[0] for found in minima if not found[3]]
    minima = sorted((found for found in minima if found[3]), key=lambda found: found[0])
    if not minima:
        raise RuntimeError(
            f"no path of least action was found: none of {len(explored)} initial paths converged. "
            "Is the drift smooth between start and end? Give more num_starts or num_segments."
        )
    action, error, path, _ = minima[0]
    coefficients_at(problem.drift, problem.diffusion, path, "on the path")
    if error > _ACCURATE * action:
        notes.append(
            f"the action {action:.4g} is not resolved: its estimated error is {error:.2g}. Give "
            f"more num_segments than {len(path) - 1}."
        )
    lowest = min(failed, default=np.inf)
    if lowest < (1 - _ACCURATE) * action:
        notes.append(
            f"a path that did not converge has the lower action {lowest:.4g}. Give more "
            "num_segments or num_starts."
        )
    if _first_outside(problem, path) < len(path) - 1:
        notes.append("the path leaves the domain before its end: a nearer exit costs less.")
    for note in notes:
        warnings.warn(errors.AccuracyWarning(note), stacklevel=4)  # past the wrapper of names
    return MinimumAction(
        action,
        error,
        path,
        np.array([found[0] for found in minima]),
        np.stack([found[2] for found in minima]),
        len(explored),
        sum(good for _, _, good in explored),
        tuple(notes),
    )
