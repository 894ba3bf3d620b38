"""Paths of least action as polygons: the action, and Newton's method for it. Float64.

The action is that of `levysde.theory.minimum_action`, with b and D at the midpoint of each segment.
The first segment, from the attractor, costs the quasi-potential of the linearised flow, because a
curve may wind around the attractor many times. The nodes move in planes normal to the curve, which
leaves out the direction in which the action is flat, by Newton's method with Levenberg's damping:
the Hessian is a band matrix. Where it is not positive the polygon is a saddle of the action, and is
moved along the lowest eigenvector. Then the nodes are spread evenly, until nothing moves. An end on
the boundary of a domain moves with the nodes, along the boundary as seen from the attractor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from levysde.interfaces import ray_distances
from levysde.protocols import Domain
from levysde.theory.coefficients import PointFunction, matrix_at

_ROUNDS, _STEPS = 40, 30  # spreadings of the nodes, and Newton steps between two of them
# decrease of the action that Newton's step predicts, relative to the action: of a minimum, and of
# one where rounding hides it
_CONVERGED, _HIDDEN = 1e-10, 1e-8
_NEGATIVE = 1e-2  # times 1 / n^2 and the Hessian's diagonal: an eigenvalue of a saddle
_ROUNDING = 1e-13  # increase of the action that may be rounding
_DAMPING, _NEGLIGIBLE, _LARGEST = 1e-3, 1e-6, 1e8  # relative to the Hessian's diagonal
_KICKS, _KICK = 3, 0.05  # of a saddle of the action; share of the length that the nodes move
_EVEN, _UNEVEN, _FOLDED = 1.1, 1.5, 3.0  # longest over shortest segment: fine, respread, refused
_ANGLE = 1e-3  # step of the derivatives along a boundary


def lengths(path: np.ndarray) -> np.ndarray:
    """Of the segments of a path `(n + 1, d)`, `(n,)`."""
    return np.linalg.norm(np.diff(path, axis=0), axis=1)


def spread(path: np.ndarray, num: int) -> np.ndarray:
    """The same curve with `num` segments, its nodes at equal distances."""
    along = np.concatenate([[0.0], np.cumsum(lengths(path))])
    places = np.linspace(0, along[-1], num + 1)
    return np.stack([np.interp(places, along, column) for column in path.T], 1)


def normals(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors normal to each of `(..., d)` and to each other, `(..., d - 1, d)`."""
    return np.linalg.svd(vectors[..., None, :])[2][..., 1:, :]


def _unevenness(path: np.ndarray) -> float:
    sizes = lengths(path)
    return float(sizes.max() / max(sizes.min(), 1e-300))


def _whitened(noise: Any, x: Array, vectors: Array) -> Array:
    """`D^-1/2` times vectors `(d, k)`; a constant D is given as `D^-1/2`."""
    if not callable(noise):
        return noise @ vectors
    root = jnp.linalg.cholesky(matrix_at(noise, x))
    return jax.scipy.linalg.solve_triangular(root, vectors, lower=True)


@eqx.filter_jit
def _segments(drift: Any, noise: Any, ends: Array) -> tuple[Array, Array, Array]:
    """The action of each segment from `ends` `(n, 2 d)`, with its gradient and Hessian."""

    def cost(pair: Array) -> Array:
        first, last = jnp.split(pair, 2)
        middle = (first + last) / 2
        step, flow = _whitened(noise, middle, jnp.stack([last - first, drift(middle)], 1)).T
        # a drift of 0 has no direction
        sizes = jnp.sqrt(jnp.sum(step * step) * (jnp.sum(flow * flow) + 1e-20))
        return (sizes - jnp.sum(step * flow)) / 2

    return jax.vmap(lambda pair: (cost(pair), jax.grad(cost)(pair), jax.hessian(cost)(pair)))(ends)


Terms = tuple[float, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ActionProblem:
    """What the action of a path depends on.

    Attributes:
        drift: b, a function of a point.
        diffusion: D, a function of a point or a matrix `(d, d)`.
        start: the attractor, `(d,)`.
        precision: `C^-1` of its quasi-potential `x' C^-1 x / 2`, `(d, d)`.
        domain: the set whose boundary holds the end; None for a fixed end.
        most: segments that are evaluated at once, so that all resolutions run one program.
    """

    drift: PointFunction
    diffusion: Any
    start: np.ndarray
    precision: np.ndarray
    domain: Domain | None
    most: int

    def terms(self, path: np.ndarray) -> Terms:
        """The action of a path, and gradient and Hessian of each segment."""
        dim, d = len(self.start), self.diffusion
        noise = d if callable(d) else jnp.asarray(np.linalg.inv(np.linalg.cholesky(np.asarray(d))))
        ends = np.concatenate([path[:-1], path[1:]], 1)
        filled = jnp.asarray(np.concatenate([ends, np.repeat(ends[-1:], self.most - len(ends), 0)]))
        found = _segments(self.drift, noise, filled)
        costs, slopes, bends = (np.array(value)[: len(ends)] for value in found)
        offset = path[1] - self.start
        slopes[0], bends[0] = 0.0, 0.0
        slopes[0, dim:], bends[0, dim:, dim:] = self.precision @ offset, self.precision
        costs[0] = offset @ slopes[0, dim:] / 2
        return float(costs.sum()), slopes, bends

    def boundary(self, end: np.ndarray) -> tuple[Callable, np.ndarray, np.ndarray]:
        """Coordinates `(d - 1,)` of the boundary, 0 where the ray to `end` meets it: their map to
        points, and its first `(d - 1, d)` and second derivatives at 0."""
        domain, ray = self.domain, end - self.start
        assert domain is not None
        sides = np.linalg.norm(ray) * normals(ray)

        def places(offsets: np.ndarray) -> np.ndarray:
            rays = ray + offsets @ sides
            far = ray_distances(domain, jnp.asarray(self.start), jnp.asarray(rays))
            return self.start + rays * np.asarray(far)[:, None]

        m = len(sides)
        i, j = np.repeat(_ANGLE * np.eye(m), m, 0), np.tile(_ANGLE * np.eye(m), (m, 1))
        around = places(np.concatenate([i + j, i - j, j - i, -i - j])).reshape(4, m, m, -1)
        second = (around[0] - around[1] - around[2] + around[3]) / (4 * _ANGLE**2)
        first = (around[0] - around[3])[np.arange(m), np.arange(m)] / (4 * _ANGLE)
        return lambda y: places(y[None])[0], first, second

    def end_on(self, point: np.ndarray) -> np.ndarray:
        """Where the ray to a point leaves the domain."""
        return self.boundary(point)[0](np.zeros(len(point) - 1))


class _Descent:
    """A path on its way to a local minimum of the action: nodes move by Newton steps in planes
    that are normal to the path of the last spreading."""

    def __init__(self, problem: ActionProblem, path: np.ndarray):
        self.problem, self.path, self.damping = problem, path, _DAMPING
        self.terms: Terms = problem.terms(path)

    def spread(self, num: int) -> None:
        self.path = spread(self.path, num)
        self.frames = normals(self.path[2:] - self.path[:-2])
        self.terms = self.problem.terms(self.path)

    def step(self) -> float | None:
        """One step that does not raise the action: the decrease that Newton's model predicts from
        it, relative to the action; inf if it left a saddle, None if there is no step."""
        _, slopes, bends = self.terms
        bases, place, bend = self.frames, None, None
        if self.problem.domain is not None:
            place, first, second = self.problem.boundary(self.path[-1])
            bases = np.concatenate([bases, first[None]])
            bend = second @ slopes[-1, bases.shape[2] :]
        gradient, band = _reduced(bases, slopes, bends, bend)
        if not (np.isfinite(gradient).all() and np.isfinite(band).all()):
            return None
        scale, indefinite = float(np.abs(band[0]).mean()), False
        while self.damping < _LARGEST:
            shifted = band.copy()
            shifted[0] += self.damping * scale
            try:
                step = scipy.linalg.solveh_banded(shifted, -gradient, lower=True)
            except np.linalg.LinAlgError:
                indefinite = True
            else:
                gain = float(-gradient @ step) / self.terms[0]
                if self._accepts(self._moved(step, place)):
                    break
                if gain < _HIDDEN and not indefinite:
                    return 0.0
            self.damping = max(4 * self.damping, _NEGLIGIBLE)
        else:
            return None
        if gain < _CONVERGED and indefinite:
            low, away = scipy.linalg.eig_banded(band, lower=True, select="i", select_range=(0, 0))
            if low[0] < -_NEGATIVE * scale / len(self.frames) ** 2:
                away *= _KICK * lengths(self.path).sum() / np.abs(away).max()
                self.path = self._moved(away[:, 0], place)
                return np.inf
        # a damped step says little about what is left, unless the action is flat
        return gain if indefinite or self.damping <= _NEGLIGIBLE else max(gain, 2 * _CONVERGED)

    def _accepts(self, path: np.ndarray) -> bool:
        terms = self.problem.terms(path)
        folded = _unevenness(path) > max(_FOLDED, _unevenness(self.path))
        fine = terms[0] <= self.terms[0] * (1 + _ROUNDING) and not folded
        if fine:
            self.path, self.terms = path, terms
        return fine

    def _moved(self, step: np.ndarray, place: Callable | None) -> np.ndarray:
        steps = step.reshape(-1, self.frames.shape[1])
        moved = self.path.copy()
        moved[1:-1] += np.einsum("km,kmd->kd", steps[: len(self.frames)], self.frames)
        if place is not None:
            moved[-1] = place(steps[-1])
        return moved


def _reduced(
    bases: np.ndarray, slopes: np.ndarray, bends: np.ndarray, bend: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient, and Hessian as a lower band, in coordinates along the bases of the nodes."""
    num, m, dim = bases.shape
    slope, diagonal = slopes[:, dim:].copy(), bends[:, dim:, dim:].copy()
    slope[:-1] += slopes[1:, :dim]
    diagonal[:-1] += bends[1:, :dim, :dim]
    gradient = np.einsum("kmd,kd->km", bases, slope[:num]).ravel()
    blocks = np.einsum("kad,kde,kbe->kab", bases, diagonal[:num], bases)
    if bend is not None:
        blocks[-1] += bend
    beside = np.zeros_like(blocks)
    beside[:-1] = np.einsum("kad,kde,kbe->kba", bases[:-1], bends[1:num, :dim, dim:], bases[1:])
    columns = np.concatenate([blocks, beside], 1)
    band = np.zeros((2 * m, num, m))
    for c in range(m):
        band[: 2 * m - c, :, c] = columns[:, c:, c].T
    return gradient, band.reshape(2 * m, num * m)


def settle(problem: ActionProblem, path: np.ndarray, num: int) -> tuple[np.ndarray, float, bool]:
    """A local minimum of the action of paths of `num` segments: the path, its action, and whether
    it is one."""
    descent, kicks = _Descent(problem, spread(path, num)), 0
    for _ in range(_ROUNDS):
        descent.spread(num)
        for _ in range(_STEPS):
            gain = descent.step()
            if gain is None:
                return descent.path, descent.terms[0], False
            kicks += gain == np.inf
            if gain < _CONVERGED and _unevenness(descent.path) < _EVEN:
                return descent.path, descent.terms[0], True
            if not _CONVERGED < gain < np.inf or _unevenness(descent.path) > _UNEVEN:
                break
            descent.damping = descent.damping / 10 if descent.damping > 1e-9 else 0.0
        if kicks > _KICKS:
            break
    return descent.path, descent.terms[0], False
