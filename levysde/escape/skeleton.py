"""The discretisation bias of the mean escape time, estimated before a run.

Notation, along a straight way of length R from the attractor to the boundary: U the loss, s^2 the
variance of the noise per unit time, `Phi = 2 U / s^2`. The mean exit time of the equation and that
of its steps of dt are

    T(R) = 2/s^2 int_0^R e^Phi(y) int_-R^y e^-Phi(z) dz dy,        T of (R + 0.5826 s sqrt(dt), Phi
        + c (Psi - Phi)),
    Psi = -2/(s^2 dt) int b dy - b^2 / (2 s^2 dt),        b the drift of one step, -dt U' for
                                                          Euler's:

exits are looked for at the times of steps only, as if the boundary stood further out (Gobet,
Menozzi, Stochastic Process. Appl. 120, 2010), and c = 1 takes the quasi-potential of the chain of
steps, to first order in dt; c = 0 where the drift is exact.

To first order only: measured mean times agree within a quarter where dt times the curvature is up
to 0.4 all the way. At 1.2 (x^6/6 + x^2/2, noise 3, radius 2.2, dt 0.01) the estimate was -6% and
the measured bias +57%, so none is given there.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde.interfaces import contained, noise_directions, ray_distances
from levysde.noise import STATE_FREE, Brownian, StableComponents, StableIsotropic, boundary_shift
from levysde.protocols import Domain, Dynamics, Kernel

_SHIFT = 0.5826  # of the boundary, in units of the noise of a step: -zeta(1/2) / sqrt(2 pi)
_POINTS = 512  # of the quadrature, on either side of the attractor
_RAYS = 16
_WORTH = 0.05  # relative bias that is reported
_FIRST_ORDER = 0.4  # dt times the curvature up to which it is known
# dt times the curvature below which every drift is Euler's, and its own number would be rounding
_FINE = 1e-3
_LATE = 0.1  # relative bias under stable noise that is reported
_SHARE = 0.05  # of the exits, from which on a way counts


def step_bias(
    kernel: Kernel, domain: Domain, dynamics: Dynamics, dt: float, inexact: float
) -> tuple[float, float]:
    """Relative bias of the mean escape time, positive where exits come late, 0 where no estimate is
    known; and dt times the curvature along the ways out, as far as the kernel's drift is not exact
    there.

    Args:
        kernel, domain, dynamics, dt: of the run.
        inexact: c, 0 for an exact drift to 1 for Euler's.
    """
    gaussian = isinstance(dynamics.driver, Brownian) and isinstance(dynamics.scale, STATE_FREE)
    if (
        not gaussian
        or dynamics.response != "linear"
        or not bool(domain.contains(dynamics.attractor))
    ):
        return 0.0, 0.0
    normals, columns = _ways_out(kernel)
    variance = np.sum((normals @ columns.T) ** 2, 1) / 2  # both signs of a column are there
    on_grid = kernel.exits_on_grid and not getattr(domain, "made_for_steps", False)
    shift = _SHIFT * np.sqrt(variance * dt) if on_grid else np.zeros(len(variance))
    ways, slopes, drifts = (
        np.asarray(a, np.float64)
        for a in _along(kernel, dynamics, domain, *map(jnp.asarray, (normals, shift)))
    )
    usable = np.isfinite(ways) & np.isfinite(slopes + drifts).all(1)
    if not usable.any():
        return 0.0, 0.0
    ways, slopes, drifts, variance, shift = (
        a[usable] for a in (ways, slopes, drifts, variance, shift)
    )
    grid = np.linspace(-1, 1, 2 * _POINTS + 1) * (ways + shift)[:, None]
    curvature = np.diff(slopes) / np.diff(grid)
    fine = dt * np.abs(curvature).max(1, keepdims=True) < _FINE
    lost = slopes + np.where(fine, -slopes, drifts / dt)  # of the slope, by the step
    losses, area = (_integral(a, grid) for a in (slopes, lost))
    area -= area[:, _POINTS : _POINTS + 1]
    height = 2 * (losses - losses.min(1, keepdims=True)) / variance[:, None]
    stepped = height - inexact * (2 * area + dt * (slopes - lost) ** 2 / 2) / variance[:, None]
    exact, late = _log_time(height, grid, ways), _log_time(stepped, grid, ways + shift)
    counts = np.maximum(*(np.exp(-t - np.logaddexp.reduce(-t)) for t in (exact, late))) > _SHARE
    uneven = np.abs(
        curvature - curvature[:, _POINTS : _POINTS + 1]
    )  # which a drift that is exact at the attractor misses
    missed = np.maximum(inexact * np.abs(curvature), uneven)[counts].max()
    return float(np.expm1(np.logaddexp.reduce(-exact) - np.logaddexp.reduce(-late))), float(
        dt * missed
    )


def _ways_out(kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Some unit directions of the noise, and the displacements of its unit jumps, both signs."""
    columns = np.asarray(noise_directions(kernel), np.float64)
    sizes = np.linalg.norm(columns, axis=1)
    normals = columns[sizes > 0] / sizes[sizes > 0, None]
    return normals[:: max(1, len(columns) // _RAYS)], columns


def jump_notes(kernel: Kernel, domain: Domain, dynamics: Dynamics, dt: float) -> list[str]:
    """A note where the discretisation bias under stable noise is large.

    The boundary seems further out by `rho_a s dt^(1/a)`, s the scale of the noise across it; a mean
    that falls as the distance to the power -a is then too long by a times that share of the
    distance, and by more where paths climb to the boundary in small jumps.
    """
    driver = dynamics.driver
    known = isinstance(driver, StableComponents | StableIsotropic)
    if not known or not isinstance(dynamics.scale, STATE_FREE) or dynamics.response != "linear":
        return []
    alpha, fixed = float(driver.alpha), getattr(domain, "made_for_steps", False)
    inside = contained(domain, dynamics.attractor[None]).all()
    if alpha <= 1 or not kernel.exits_on_grid or fixed or not inside:
        return []
    normals, columns = _ways_out(kernel)
    power = alpha if isinstance(driver, StableComponents) else 2.0
    scale = (np.sum(np.abs(normals @ columns.T) ** power, 1) / 2) ** (1 / power)  # both signs
    directions = jnp.asarray(normals, dynamics.attractor.dtype)
    ways = np.asarray(ray_distances(domain, dynamics.attractor, directions), np.float64)
    share = (scale / ways) ** alpha
    if not share.sum() > 0:
        return []
    shift = boundary_shift(alpha) * dt ** (1 / alpha)
    late = alpha * shift * np.average(scale / ways, weights=share)
    if late <= _LATE:
        return []
    finer = dt * (_LATE / late) ** alpha
    return [
        f"at dt = {dt:.4g} exits are seen late: the mean escape time is too long by about "
        f"{late:.0%}, or more where the noise is small against the barrier. Type dt={finer:.2g} or "
        "less for 10%, or JumpAdapted(dynamics, dt=..., cutoff=..., domain=shifted) on "
        "shifted = Shifted(domain, dynamics, cutoff=...)."
    ]


@eqx.filter_jit
def _along(
    kernel: Kernel,
    dynamics: Dynamics,
    domain: Domain,
    normals: Float[Array, "m d"],
    shift: Float[Array, " m"],
) -> tuple[Float[Array, " m"], Float[Array, "m n"], Float[Array, "m n"]]:
    """The length of each way, and the slope of the loss and the drift of a step along it, on a grid
    from its end on one side to that on the other."""
    x = dynamics.attractor
    ways = jax.vmap(lambda v: domain.ray_distance(x, v))(normals)
    share = jnp.linspace(-1, 1, 2 * _POINTS + 1)

    def one(way: Array, normal: Array) -> tuple[Array, Array]:
        points = x[None] + (share * way)[:, None] * normal[None]
        slope = lambda y: jnp.sum(dynamics.force(y) * normal)  # noqa: E731
        drift = lambda y: jnp.sum(kernel.drift_step(y) * normal)  # noqa: E731
        return jax.vmap(slope)(points), jax.vmap(drift)(points)

    finite = jnp.where(jnp.isfinite(ways), ways, 1)
    return ways, *jax.vmap(one)(finite + shift, normals)


def _integral(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """From the beginning of each row, by trapezia."""
    pieces = (values[:, 1:] + values[:, :-1]) / 2 * np.diff(grid)
    return np.pad(np.cumsum(pieces, axis=1), ((0, 0), (1, 0)))


def _log_time(height: np.ndarray, grid: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The logarithm of T up to `end` for each row, reflected where the grid begins."""
    h = grid[:, 1:2] - grid[:, :1]
    inner = np.logaddexp.accumulate(-height, axis=1) + np.log(h)
    middle = grid.shape[1] // 2
    outer, at = (height + inner)[:, middle:], grid[:, middle:]
    inside = np.clip((end[:, None] - at) / h + 0.5, 0, 1)  # the last cell counts in part
    with np.errstate(divide="ignore"):
        return np.logaddexp.reduce(outer + np.log(inside), axis=1) + np.log(h[:, 0])


def bias_notes(bias: float, missed: float, dt: float) -> list[str]:
    if missed > _FIRST_ORDER:
        return [
            f"at dt = {dt:.4g} the bias of the mean escape time by the length of the step is not "
            "resolved: dt times the curvature on the way to the boundary that the step misses is "
            f"up to {missed:.3g}, and an estimate needs {_FIRST_ORDER:g} or less. Take "
            f"dt={0.5 * _FIRST_ORDER * dt / missed:.2g} or less, or compare the means at dt and "
            "dt / 4."
        ]
    if abs(bias) <= _WORTH or not np.isfinite(bias):
        return []
    too, how = ("long", "late") if bias > 0 else ("short", "early")
    times = 1 + bias if bias > 0 else 1 / max(1 + bias, 1e-9)
    much = f"{abs(bias):.0%}" if times < 2 else f"a factor of {times:.3g}"
    return [
        f"at dt = {dt:.4g} the mean escape time is too {too} by about {much}, as estimated before "
        f"the run: exits come {how} by the length of the step. Type "
        "Bridged(OrnsteinUhlenbeck(dynamics, dt=...), domain), or a smaller dt."
    ]
