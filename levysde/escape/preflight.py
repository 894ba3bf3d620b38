"""Checks before a run: conditions under which its numbers would be wrong, and the size of the
domain, with which the steps of the drift are compared during the run."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from levysde.errors import AccuracyWarning, StabilityWarning
from levysde.escape.precision import precision
from levysde.escape.skeleton import bias_notes, jump_notes, step_bias
from levysde.interfaces import contained, noise_directions, ray_distances, ray_doubts
from levysde.parts import check_derived
from levysde.protocols import Domain, Dynamics, Kernel, Point, State

# looked along for the size of the domain, and numbers in their points
_RAYS, _RAY_NUMBERS = 64, 2**14
_LARGEST = 200  # numbers of a state up to which all eigenvalues of a step are computed
_POWERS = 80  # steps of the power iteration beyond that
_ROUNDING = 1e-3  # growth of a step that is no instability
# error of a step, for a deviation of length 1: that of Euler's at dt times the curvature of 0.48
_COARSE = 0.1
_FASTEST = 0.4  # dt times the rate of the fastest average, above which a step is coarse for it
_STIFFEST = 0.2  # dt times the largest curvature that is advised

_looked = ContextVar("looked", default=False)


@contextmanager
def without_preflight() -> Iterator[None]:
    """Runs inside skip the checks and count no overshoots: for more runs of a problem that has been
    checked."""
    token = _looked.set(True)
    try:
        yield
    finally:
        _looked.reset(token)


def is_looked_at() -> bool:
    return not _looked.get()


def preflight(kernel: Kernel, domain: Domain, starts: np.ndarray) -> tuple[str, ...]:
    """Issues an `AccuracyWarning` for each condition that the run does not meet, and returns their
    messages.

    Args:
        kernel, domain: what moves, and the basin.
        starts: `(d,)` or `(num, d)`.

    Returns:
        One message a condition: what is wrong, the value, how to fix it.

    Raises:
        ValueError: a run that cannot give a right number.
    """
    if not is_looked_at():
        return ()
    check_derived((kernel, domain))
    start, directions = jnp.atleast_2d(starts)[0], np.asarray(noise_directions(kernel))
    found: list[AccuracyWarning | str] = [
        *stability(kernel, domain),
        *precision(kernel, domain, starts),
        *map(AccuracyWarning, ray_doubts(domain, start, directions)),
    ]
    for warning in found:
        if isinstance(warning, AccuracyWarning):  # a note is kept in the result alone
            warnings.warn(warning, stacklevel=4)
    return tuple(str(warning) for warning in found)


def flow_of(kernel: Kernel) -> Dynamics | None:
    """The dynamics whose flow the kernel approximates; None for an optimiser, whose steps are what
    is asked about."""
    dynamics = getattr(kernel, "dynamics", None)
    if dynamics is None:
        return None
    x = jax.ShapeDtypeStruct((kernel.dim,), jnp.result_type(float))
    approximates = jax.eval_shape(lambda x: kernel.noiseless(kernel.settled(x)), x) is not None
    return dynamics if approximates else None


def domain_size(kernel: Kernel, domain: Domain, starts: np.ndarray) -> float:
    """The shortest way from the attractor to the boundary along the noise; from the start where the
    attractor is outside. inf where no way leaves, or the kernel approximates no flow."""
    dynamics = flow_of(kernel)
    if dynamics is None:
        return np.inf
    directions = noise_directions(kernel)
    most = int(np.clip(_RAY_NUMBERS // kernel.dim, 8, _RAYS))
    directions = directions[:: max(1, len(directions) // most)]
    origin = jnp.asarray(np.atleast_2d(starts)[0])
    if dynamics.has_attractor and bool(contained(domain, dynamics.attractor[None]).all()):
        origin = dynamics.attractor
    lengths = np.linalg.norm(np.asarray(directions, np.float64), axis=1)
    ways = np.asarray(ray_distances(domain, origin, directions))
    return float(np.min(ways[lengths > 0] * lengths[lengths > 0], initial=np.inf))


def stability(kernel: Kernel, domain: Domain) -> list[StabilityWarning | str]:
    """A warning where a step of the kernel is past its stability limit at the attractor, notes
    where it is coarse.

    One step without noise maps a small deviation from the attractor by a matrix, its Jacobian over
    all numbers of the state. The deviation grows where an eigenvalue is outside the unit circle:
    for Euler's step where `dt * curvature > 2`, for every other stepper at its own limit. What the
    flow itself grows by, away from a saddle, does not count.
    """
    dynamics = flow_of(kernel)
    if dynamics is None or not dynamics.has_attractor:
        return []
    dt, name = float(kernel.dt), type(kernel).__name__  # pyright: ignore[reportAttributeAccessIssue]
    try:
        step, moved, flow = matrices = _matrices(kernel, dynamics)
        # a root of an average that is 0 there
        if not all(np.isfinite(matrix).all() for matrix in matrices):
            return []
        rates = np.linalg.eigvals(flow).real
        stiffness = dt * float(rates.max())
        growth = float(np.abs(np.linalg.eigvals(step)).max()) / np.exp(max(0.0, -dt * rates.min()))
        advice = f"Type dt={dt * min(0.5, _STIFFEST / max(stiffness, 1e-9)):.2g} or less."
        if growth > 1 + _ROUNDING:
            return [
                StabilityWarning(
                    f"dt = {dt:.4g} is past the stability limit of {name}: dt times the largest "
                    f"curvature at the attractor is {stiffness:.3g}, and a step without noise "
                    f"multiplies a deviation from it by {growth:.3g}. Exits are the integrator's, "
                    f"not the equation's. {advice}"
                )
            ]
        if dynamics.response == "flow":  # the position follows its averages, not the gradient alone
            return _coarse_for_averages(step, dt)
        error = _error(moved, flow, dt)
        if error > _COARSE:
            return [
                f"dt = {dt:.4g} is coarse for the drift: dt times the largest curvature at the "
                f"attractor is {stiffness:.3g}, and a step of {name} without noise is off by "
                f"{error:.2g} of a deviation from it. {advice}"
            ]
        euler = _error(np.eye(len(flow)) - dt * flow, flow, dt)
        inexact = min(1.0, error / euler) if euler > 0 else 0.0
        bias, missed = step_bias(kernel, domain, dynamics, dt, inexact)
        return [*jump_notes(kernel, domain, dynamics, dt), *bias_notes(bias, missed, dt)]
    # a gradient that cannot be differentiated, in whatever way: the run itself does without
    except Exception:
        return []


def _coarse_for_averages(step: np.ndarray, dt: float) -> list[StabilityWarning | str]:
    sizes = np.abs(np.linalg.eigvals(step))
    fastest = -np.log(max(float(sizes[sizes > 0].min(initial=1.0)), 1e-300))
    if fastest <= _FASTEST:
        return []
    return [
        f"dt = {dt:.4g} is coarse for the averages of the dynamics: within a step the fastest one "
        f"decays by exp(-{fastest:.3g}). As an approximation of the SDE the mean escape time may "
        f"be wrong. Type dt={dt * _FASTEST / (2 * fastest):.2g} or less, or compare the means at "
        "dt and dt / 4. (With dt = learning_rate a step is the algorithm's own.)"
    ]


def _error(step: np.ndarray, flow: np.ndarray, dt: float) -> float:
    """How far a step of the position is from the flow's over dt, for a deviation of length 1."""
    from scipy.linalg import expm  # slow to import

    return float(np.linalg.norm(step - expm(-dt * flow), 2))


def _float_step(kernel: Kernel, x: Point) -> tuple[Callable, State]:
    """One step without noise as a map of the floats of the state, with those at `x`."""
    rest, other = eqx.partition(kernel.settled(x), eqx.is_inexact_array)
    return lambda rest: eqx.filter(
        kernel.noiseless(eqx.combine(rest, other)), eqx.is_inexact_array
    ), rest


@eqx.filter_jit
def _whole(
    kernel: Kernel, dynamics: Dynamics
) -> tuple[Float[Array, "n n"], Float[Array, "d d"], Float[Array, "d d"]]:
    """The Jacobians of a step of the state, of one of the position from rest, and of the position's
    flow."""
    step, rest = _float_step(kernel, dynamics.attractor)
    flat, unravel = ravel_pytree(rest)
    flat_step = lambda flat: ravel_pytree(step(unravel(flat)))[0]  # noqa: E731
    moved = lambda x: x + kernel.drift_step(x)  # noqa: E731

    def both(jacobian: Callable) -> tuple[Array, Array]:
        return jacobian(flat_step)(flat), jacobian(moved)(dynamics.attractor)

    try:
        found = both(jax.jacfwd)
    except TypeError:  # solvers of diffrax differentiate backwards only
        found = both(jax.jacrev)
    return *found, dynamics.linearisation()


@eqx.filter_jit
def _stiffest(
    kernel: Kernel, dynamics: Dynamics
) -> tuple[Float[Array, "k k"], Float[Array, "1 1"], Float[Array, "1 1"]]:
    """As `_whole`, along the direction of the largest curvature alone, for each vector of the state
    (position, averages)."""
    x = dynamics.attractor
    bend = lambda v: jax.jvp(dynamics.force, (x,), (v,))[1]  # noqa: E731
    unit = lambda v: v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)  # noqa: E731
    start = unit(jax.random.normal(jax.random.key(0), x.shape, x.dtype))
    top = jax.lax.fori_loop(0, _POWERS, lambda _, v: unit(bend(v)), start)
    step, rest = _float_step(kernel, x)
    leaves, structure = jax.tree.flatten(rest)
    vectors = [i for i, leaf in enumerate(leaves) if leaf.shape == x.shape]

    def column(j: int) -> Array:
        tangents = [top if i == j else jnp.zeros_like(leaf) for i, leaf in enumerate(leaves)]
        moved = jax.tree.leaves(
            jax.jvp(step, (rest,), (jax.tree.unflatten(structure, tangents),))[1]
        )
        return jnp.stack([jnp.sum(moved[i] * top) for i in vectors])

    moved = jax.jvp(lambda x: x + kernel.drift_step(x), (x,), (top,))[1]
    along = jnp.stack([column(j) for j in vectors], 1)
    return along, jnp.sum(top * moved)[None, None], jnp.sum(top * bend(top))[None, None]


def _matrices(kernel: Kernel, dynamics: Dynamics) -> list[np.ndarray]:
    """The Jacobians of a step of the state and of the position, and of the position's flow: whole,
    or along the stiffest direction of a large state."""
    x = jax.ShapeDtypeStruct((kernel.dim,), jnp.result_type(float))
    state = jax.tree.leaves(jax.eval_shape(kernel.settled, x))
    numbers = sum(leaf.size for leaf in state if jnp.issubdtype(leaf.dtype, jnp.inexact))
    found = (_whole if numbers <= _LARGEST else _stiffest)(kernel, dynamics)
    return [np.asarray(matrix, np.float64) for matrix in found]
