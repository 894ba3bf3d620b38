"""Gradient flows by their exact Ornstein-Uhlenbeck part: exponential time differencing.

Notation: `d th = -grad F dt + epsilon S dL`, x* the minimum, H the Hessian of F there,
`g(x) = grad F(x) - H (x - x*)` the remaining force, h a curvature, a the index of L,
`phi1(z) = (1 - e^{-z}) / z`, `phi2(z) = (1 - phi1(z)) / z`. The linear part is solved exactly,
with the noise of a step (Gillespie, Phys. Rev. E 54, 1996)

    xi = integral_0^dt e^{-H (dt - s)} epsilon S dL_s

and g is integrated along with it as a straight line in time (Cox, Matthews, J. Comput. Phys. 176,
2002, ETD2RK):

    y  = x - dt phi1(H dt) grad F(x) + xi                          (exact where g is constant)
    x' = y - dt phi2(H dt) (grad F(y) - grad F(x) - H (y - x))     (the bracket is g(y) - g(x))

since `x* + e^{-H dt} (x - x*) - dt phi1(H dt) g(x) = x - dt phi1(H dt) grad F(x)`. For a
`Quadratic` g = 0 and the first line is exact in law for any dt. Weak order 2 for Gaussian noise.
Splittings that kick by g before and after the linear part are worse: with plain half kicks of order
1, repaired to order 2 (Lawson) with 2 to 19 times the error (double well, measured), since far from
x* the linear force and g are large and opposite.

xi in law. Gaussian, `H = V diag(h) V'`: covariance `V (V' Q V * dt phi1((h_i + h_j) dt)) V'`,
`Q = epsilon^2 S S'`. Stable: where every column of S is an eigenvector of H, `H S_j = h_j S_j`,
and L has independent coordinates, coordinate j is drawn over the time `dt phi1(a h_j dt)`, since
`integral_0^dt e^{-h (dt-s)} dL_s` is SaS of scale s, `s^a = (1 - e^{-a h dt}) / (a h)`.
Isotropic
noise needs all h_j alike: else xi is stable, but no longer isotropic.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from levysde import errors
from levysde.dynamics import FirstOrder
from levysde.kernels.euler import FixedStep, first_order
from levysde.landscapes import Quadratic
from levysde.noise import STATE_FREE, Brownian, StableComponents, StableIsotropic
from levysde.parts import in_float64
from levysde.protocols import Dynamics, NoiseVector, Point, Words, matvec
from levysde.types import Arg, Number

# of the largest curvature: two that differ by less are one, in numbers that may come from float32
_SAME = 1e-5


class OrnsteinUhlenbeck(FixedStep):
    """Steps an equation of first order with its linear part at the attractor solved exactly.

    Exact in law for a `Quadratic` whatever dt is. Elsewhere a step takes two gradients and is of
    weak order 2 for Gaussian noise; it gains where the loss is close to a quadratic around the
    minimum. Exits are detected at the grid times only, as by `EulerMaruyama`.

    H, the exponential and the law of the noise are computed here, on the host in float64, once a
    kernel; they are array leaves, so that other numbers compile nothing new.

    Args:
        dynamics: `SGD`, `Langevin`, or an `SDE` with an attractor, whose scale does not depend on
            the position, with `Brownian` noise and any H and S; with `StableComponents`, where the
            columns of S are eigenvectors of H (both diagonal, for example); or with
            `StableIsotropic`, where they all have one
            curvature (`H = h I`).
        dt: the step, positive, in SDE time.

    Raises:
        TypeError: other dynamics, scales and drivers, or numbers that JAX traces.
        ValueError: a bad `dt`, or a law of the noise that is not among the above.

    Source:
        Gillespie, Phys. Rev. E 54, 1996 (the linear part); Cox, Matthews, J. Comput. Phys. 176,
        2002, ETD2RK (the rest).
    """

    dynamics: FirstOrder
    dt: Array
    drift: Array  # dt phi1(H dt); (d,) where H is diagonal, else (d, d)
    mixing: Array  # xi = mixing times the driver's increment over `time`; (d,), or (d, m)
    time: Array
    # H and dt phi2(H dt), for the remaining force; None where there is none
    rest: tuple[Array, Array] | None

    def __init__(self, dynamics: Arg[Dynamics], dt: Arg[Number]):
        errors.concrete("dt", dt)  # the law of the noise is computed on the host
        flow = first_order("OrnsteinUhlenbeck", dynamics)
        if not isinstance(flow.scale, STATE_FREE):
            raise TypeError(
                "OrnsteinUhlenbeck solves the linear part exactly, for which "
                f"{type(flow.scale).__name__} must not depend on the position. Type "
                "EulerMaruyama(dynamics, dt=1e-3) instead."
            )
        if not isinstance(flow.driver, Brownian | StableComponents | StableIsotropic):
            raise TypeError(
                "OrnsteinUhlenbeck knows the law of its noise for Brownian, StableComponents and "
                f"StableIsotropic, not for {type(flow.driver).__name__}. Type "
                "EulerMaruyama(dynamics, dt=1e-3) instead."
            )
        self.dynamics = errors.concrete("dynamics", flow)
        self.dt = errors.positive("dt", dt, "dt=0.1")
        for name, value in self._derived().items():
            setattr(self, name, value)

    def _derived(self) -> dict[str, Any]:
        step, hessian = float(self.dt), _hessian(self.dynamics)
        mixing, time = _noise_law(self.dynamics, hessian, step)
        linear = isinstance(getattr(self.dynamics, "landscape", None), Quadratic)
        return {
            "mixing": _leaf(mixing),
            "time": _leaf(time),
            "drift": _leaf(step * _phi(1, hessian * step)),
            "rest": None if linear else (_leaf(hessian), _leaf(step * _phi(2, hessian * step))),
        }

    @property
    def words_per_step(self) -> int:
        return self.dynamics.driver.words_per_step(self.mixing.shape[-1])

    @property
    def still(self) -> Point:
        return jnp.zeros(self.dim, self.dt.dtype)

    def noise(self, words: Words) -> Point:
        """xi, a function of its words; shape `(d,)`."""
        driver, size = self.dynamics.driver, self.mixing.shape[-1]
        return _product(self.mixing, driver.increment(words, size, self.time))

    def advance(self, noise: Point, state: Point) -> Point:
        """The step with `xi = noise`."""
        x, force_at = state, self.dynamics.force
        force = force_at(x)
        move = noise - _product(self.drift, force)
        if self.rest is None:
            return x + move
        hessian, weight = self.rest
        change = force_at(x + move) - force - _product(hessian, move)
        return x + (move - _product(weight, change))


def _product(matrix: Array, vector: NoiseVector) -> Point:
    return matrix * vector if matrix.ndim == 1 else matvec(matrix, vector)


def _hessian(flow: FirstOrder) -> np.ndarray:
    """H at the attractor, float64; symmetric but for a drift that turns."""
    with in_float64(flow) as precise:
        matrix = np.asarray(precise.linearisation(), np.float64)
    turns = np.abs(matrix - matrix.T).max() > _SAME * np.abs(matrix).max()
    return matrix if turns and not hasattr(flow, "landscape") else (matrix + matrix.T) / 2


def _noise_law(flow: FirstOrder, hessian: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
    """xi as a matrix times the driver's increment over a time. Float64."""
    identity = jnp.eye(flow.noise_dim)
    unit = np.asarray(
        jax.vmap(flow.scale.apply, (0, None), 1)(identity, flow.attractor), np.float64
    )
    scale = float(flow.epsilon) * unit
    if isinstance(flow.driver, Brownian):
        if not _symmetric(hessian):
            return _root(_covariance(hessian, scale @ scale.T, dt)), 1.0
        curvatures, axes = np.linalg.eigh(hessian)
        q = axes.T @ scale @ scale.T @ axes
        covariance = axes @ (q * dt * _phi1((curvatures[:, None] + curvatures) * dt)) @ axes.T
        return _root(covariance), 1.0
    alpha = float(flow.driver.index)
    times = dt * _phi1(alpha * _column_curvatures(flow, hessian, scale) * dt)
    return scale * (times / times.max()) ** (1 / alpha), times.max()


def _column_curvatures(flow: FirstOrder, hessian: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """h_j of `H S_j = h_j S_j`, shape `(m,)`; ValueError where there is none, or they differ and
    may not."""
    sizes = np.sum(scale**2, 0)
    used = sizes > 0
    found = np.sum(scale * (hessian @ scale), 0)[used] / sizes[used]
    size = max(np.abs(hessian).max(), np.finfo(float).tiny)
    gap = (
        np.linalg.norm(hessian @ scale[:, used] - found * scale[:, used], axis=0)
        / np.sqrt(sizes[used])
        / size
    )
    name, instead = type(flow.driver).__name__, "Type EulerMaruyama(dynamics, dt=1e-3) instead."
    if gap.max() > _SAME:
        raise ValueError(
            f"with {name} the noise of a step has no law in closed form here: column "
            f"{np.flatnonzero(used)[gap.argmax()]} of the scale is no eigenvector of the Hessian "
            f"at the minimum (off by {gap.max():.2g} of the largest curvature). {instead}"
        )
    if isinstance(flow.driver, StableIsotropic) and np.ptp(found) > _SAME * size:
        raise ValueError(
            "with StableIsotropic the noise of a step is isotropic only where the curvature is "
            f"the same along all of the noise, but it goes from {found.min():.6g} to "
            f"{found.max():.6g}. {instead}"
        )
    curvatures = np.full(scale.shape[1], found[0])  # a column of zeros may take any
    curvatures[used] = found
    return curvatures


def _covariance(hessian: np.ndarray, q: np.ndarray, dt: float) -> np.ndarray:
    """`integral_0^dt e^(-H s) Q e^(-H' s) ds` (Van Loan, IEEE Trans. Automat. Control 23,
    1978), over a part of the time in which no exponential grows large, doubled as often as
    needed."""
    size, zero = len(hessian), np.zeros_like(hessian)
    doublings = max(0, int(np.ceil(np.log2(max(np.linalg.norm(hessian, 2) * dt, 1.0)))))
    part = dt / 2**doublings
    whole = scipy.linalg.expm(part * np.block([[hessian, q], [zero, -hessian.T]]))
    decay = whole[size:, size:].T
    found = decay @ whole[:size, size:]
    for _ in range(doublings):
        found = found + decay @ found @ decay.T
        decay = decay @ decay
    return found


def _symmetric(matrix: np.ndarray) -> bool:
    return np.array_equal(matrix, matrix.T)


def _root(covariance: np.ndarray) -> np.ndarray:
    return _function(lambda size: np.sqrt(np.maximum(size, 0)), covariance)


def _phi(order: int, matrix: np.ndarray) -> np.ndarray:
    """phi1 or phi2 of a matrix."""
    if _symmetric(matrix):
        return _function((_phi1, _phi2)[order - 1], matrix)
    # the upper right block of the exponential of a larger matrix (Saad, SIAM J. Numer. Anal. 29,
    # 1992)
    size = len(matrix)
    large = np.zeros((size * (order + 1),) * 2)
    large[:size, :size] = -matrix
    large[: size * order, size:] += np.eye(size * order)
    return scipy.linalg.expm(large)[:size, -size:]


def _phi1(z: np.ndarray) -> np.ndarray:
    """`(1 - e^{-z}) / z`, 1 at 0."""
    safe = np.where(z == 0, 1, z)
    return np.where(z == 0, 1.0, -np.expm1(-safe) / safe)


def _phi2(z: np.ndarray) -> np.ndarray:
    """`(1 - phi1(z)) / z`, 1/2 at 0; by its series where the difference loses digits."""
    small = np.abs(z) < 1e-3
    return np.where(small, 0.5 - z / 6 + z**2 / 24, (1 - _phi1(z)) / np.where(small, 1, z))


def _function(fn: Callable[[np.ndarray], np.ndarray], matrix: np.ndarray) -> np.ndarray:
    """`fn` of a symmetric matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * fn(values)) @ vectors.T


def _leaf(matrix: np.ndarray | float) -> Array:
    """As JAX has it, and as its diagonal alone where there is nothing beside it."""
    matrix = np.asarray(matrix)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    thin = np.diag(matrix) if square and not np.any(matrix - np.diag(np.diag(matrix))) else matrix
    return jnp.asarray(thin, dtype=float)
