"""How late or early the exits of a Gaussian SDE come by the step alone, estimated before a run.

Notation, along a straight way of length R from the attractor to the boundary: U the loss, s^2 the variance of the noise per
unit time, `Phi = 2 U / s^2`. The mean exit time of the equation and that of its steps of dt are

    T(R) = 2/s^2 int_0^R e^Phi(y) int_-R^y e^-Phi(z) dz dy,        T of (R + 0.5826 s sqrt(dt), Phi - c dt U'^2 / (2 s^2)):

exits are looked for at the times of steps only, as if the boundary stood further out (Gobet, Menozzi, Stochastic Process. Appl.
120, 2010), and Euler's step makes the noise that the well holds up larger, c = 1 (the quasi-potential of the chain to first
order in dt; 0 where the drift is exact).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde.noise import STATE_FREE, Brownian
from levysde.protocols import Domain, Dynamics, Kernel

_SHIFT = 0.5826  # of the boundary, in units of the noise of a step: -zeta(1/2) / sqrt(2 pi)
_POINTS = 512  # of the quadrature, on either side of the attractor
_RAYS = 16
_WORTH = 0.05  # relative bias that is reported


def step_bias(kernel: Kernel, domain: Domain, dynamics: Dynamics, dt: float, inexact: float) -> float:
    """Relative bias of the mean escape time: positive where exits come late. 0 where no estimate is known.

    Args:
        kernel, domain, dynamics, dt: of the run.
        inexact: c, 0 for an exact drift to 1 for Euler's.
    """
    gaussian = isinstance(dynamics.driver, Brownian) and isinstance(dynamics.scale, STATE_FREE)
    if not gaussian or dynamics.response != "linear" or not bool(domain.contains(dynamics.attractor)):
        return 0.0
    columns = np.asarray(kernel.noise_directions(), np.float64)
    sizes = np.linalg.norm(columns, axis=1)
    normals = (columns[sizes > 0] / sizes[sizes > 0, None])[:: max(1, len(columns) // _RAYS)]
    variance = np.sum((normals @ columns.T) ** 2, 1) / 2  # both signs of a column are there
    on_grid = kernel.exits_on_grid and not getattr(domain, "made_for_steps", False)
    shift = _SHIFT * np.sqrt(variance * dt) if on_grid else np.zeros(len(variance))
    ways, losses, slopes = (
        np.asarray(a, np.float64) for a in _along(dynamics, domain, *map(jnp.asarray, (normals, shift)))
    )
    usable = np.isfinite(ways) & np.isfinite(losses).all(1) & np.isfinite(slopes).all(1)
    if not usable.any():
        return 0.0
    ways, losses, slopes, variance, shift = (a[usable] for a in (ways, losses, slopes, variance, shift))
    height = 2 * (losses - losses.min(1, keepdims=True)) / variance[:, None]
    stepped = height - inexact * dt * slopes**2 / (2 * variance[:, None])
    grid = np.linspace(-1, 1, 2 * _POINTS + 1) * (ways + shift)[:, None]
    exact = _log_time(height, grid, ways)
    return float(np.expm1(np.logaddexp.reduce(-exact) - np.logaddexp.reduce(-_log_time(stepped, grid, ways + shift))))


@eqx.filter_jit
def _along(
    dynamics: Dynamics, domain: Domain, normals: Float[Array, "m d"], shift: Float[Array, " m"]
) -> tuple[Float[Array, " m"], Float[Array, "m n"], Float[Array, "m n"]]:
    """The length of each way, and the loss and its slope on a grid from its end on one side to that on the other."""
    x = dynamics.attractor
    ways = jax.vmap(lambda v: domain.ray_distance(x, v))(normals)
    share = jnp.linspace(-1, 1, 2 * _POINTS + 1)

    def one(way: Array, normal: Array) -> tuple[Array, Array]:
        points = x[None] + (share * way)[:, None] * normal[None]
        slope = lambda y: jnp.sum(dynamics.landscape.gradient(y) * normal)  # noqa: E731
        return jax.vmap(dynamics.landscape.value)(points), jax.vmap(slope)(points)

    finite = jnp.where(jnp.isfinite(ways), ways, 1)
    return ways, *jax.vmap(one)(finite + shift, normals)


def _log_time(height: np.ndarray, grid: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The logarithm of T up to `end` for each row, reflected where the grid begins."""
    h = grid[:, 1:2] - grid[:, :1]
    inner = np.logaddexp.accumulate(-height, axis=1) + np.log(h)
    middle = grid.shape[1] // 2
    outer, at = (height + inner)[:, middle:], grid[:, middle:]
    inside = np.clip((end[:, None] - at) / h + 0.5, 0, 1)  # the last cell counts in part
    with np.errstate(divide="ignore"):
        return np.logaddexp.reduce(outer + np.log(inside), axis=1) + np.log(h[:, 0])


def about(bias: float, dt: float) -> list[str]:
    """What there is to say of a bias."""
    if abs(bias) <= _WORTH or not np.isfinite(bias):
        return []
    too, how = ("long", "late") if bias > 0 else ("short", "early")
    times = 1 + bias if bias > 0 else 1 / max(1 + bias, 1e-9)
    much = f"{abs(bias):.0%}" if times < 2 else f"a factor of {times:.3g}"
    return [
        f"at dt = {dt:.4g} the mean escape time is too {too} by about {much}, as estimated before the run: exits come {how} by "
        "the length of the step. Type Bridged(OrnsteinUhlenbeck(dynamics, dt=...), domain), or a smaller dt."
    ]
