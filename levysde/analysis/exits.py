"""Where trajectories leave, and whether they jump out or creep out.

Notation: x* the attractor, z the first point outside, `H = V diag(h) V'` the Hessian at the
minimum, `c_k = V_k'(z - x*)` an exit's displacement in its eigenbasis, `epsilon A y` the
displacement that a noise increment y makes at the attractor,
`r(u) = inf{r > 0 : x* + r u outside}`.

    share of eigenvector k = mean over exits of c_k^2 / sum_j c_j^2,
                             which the law of single jumps puts at sum_i share_i (V_k'A v_i)^2 / |A
                                 v_i|^2
    reach of a jump y      = 1 / r(epsilon A y): how much of the way to the boundary it goes alone;
                           from 1 on it leaves

A trajectory's noise is a pure function of (seed, id, step), so its last step is drawn again instead
of stored.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.escape import EscapeResult, Paths, check_places
from levysde.interfaces import check_interfaces
from levysde.kernels import EulerMaruyama
from levysde.protocols import Domain, Landscape
from levysde.random import split_uint64, step_words, trajectory_key
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Grid, Table, spread
from levysde.theory import EscapeLaw
from levysde.types import Arg, Integer, Number, Numbers


class Exits(NamedTuple):
    """The rows of a run that left: ids and steps `(k,)`, points `(k, d)` in float64, and the run's
    seed."""

    ids: np.ndarray
    steps: np.ndarray
    last_inside: np.ndarray
    first_outside: np.ndarray
    seed: int


def exits_of(result: Arg[EscapeResult], dim: int) -> Exits:
    """The exits of a run or of paths. Raises an error if there is none."""
    if not isinstance(result, EscapeResult | Paths):
        raise TypeError(
            f"result must be an EscapeResult or Paths, not {type(result).__name__}. For "
            "example simulate_escape(...)."
        )
    check_places(result)
    if result.first_outside.shape[1] != dim:
        raise ValueError(
            f"the result has points of {result.first_outside.shape[1]} dimensions, not {dim}. Make "
            "them one."
        )
    found = result.exited & np.isfinite(result.first_outside).all(1)
    if not found.any():
        raise ValueError(
            "no trajectory left, so there is no exit to look at. Run longer, or raise epsilon."
        )
    if isinstance(result, Paths):
        ids, steps, seed = result.ids, result.end_step, result.seed
    else:
        ids, steps, seed = np.arange(result.num, dtype=np.uint64), result.steps, result.info.seed
    last_inside, first_outside = (
        rows[found].astype(np.float64) for rows in (result.last_inside, result.first_outside)
    )
    return Exits(ids[found], steps[found], last_inside, first_outside, seed)


def bounded_mean(total: float, num: int, confidence: float) -> Estimate:
    """The mean of `num` independent values in [0, 1] whose sum is `total`, with Clopper and
    Pearson's interval (Biometrika 26, 1934): exact for values 0 and 1, conservative for others,
    which vary less."""
    from scipy.stats import beta  # slow to import

    tail, total = (1 - confidence) / 2, min(max(total, 0.0), float(num))
    low = beta.ppf(tail, total, num - total + 1) if total > 0 else 0.0
    high = beta.isf(tail, total + 1, num - total) if total < num else 1.0
    return Estimate(total / num, float(low), float(high), confidence)


@dataclass(frozen=True, repr=False)
class ExitDirections(Result):
    """Along which eigenvectors of the Hessian trajectories left.

    Attributes:
        eigenvalues: of the Hessian at the minimum, ascending, shape `(d,)`.
        eigenvectors: its columns, shape `(d, d)`.
        components: each exit's displacement from the minimum in this basis, shape `(k, d)`.
        shares: mean share of its squared length along each eigenvector, shape `(d,)`; they sum to
            1.
        intervals: lower and upper ends, shape `(d, 2)`.
        predicted: what a law of single jumps says, shape `(d,)`, or None.
        confidence: of each interval.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray = field(repr=False)
    components: np.ndarray = field(repr=False)
    shares: np.ndarray
    intervals: np.ndarray
    predicted: np.ndarray | None
    confidence: float

    def _table(self) -> Table:
        top = np.sort(np.argsort(-self.shares, kind="stable")[:10])
        head = (
            "eigenvalue",
            "share of squared displacement",
            *(["law"] if self.predicted is not None else []),
        )
        cells = []
        for k in top:
            low, high = self.intervals[k]
            law = [f"{self.predicted[k]:.4f}"] if self.predicted is not None else []
            cells.append(
                (
                    f"{self.eigenvalues[k]:.4g}",
                    f"{self.shares[k]:.4f} [{low:.4f}, {high:.4f}]",
                    *law,
                )
            )
        lines: list[Grid | str] = [Grid(head, cells)]
        if len(self.shares) > len(top):
            lines.append(f"... and {len(self.shares) - len(top)} with smaller shares")
        return Table(
            f"ExitDirections of {len(self.components)} exits ({self.confidence:.0%} intervals)",
            lines,
        )


def exit_directions(
    result: Arg[EscapeResult],
    landscape: Arg[Landscape],
    *,
    minimum: Arg[Numbers | None] = None,
    law: Arg[EscapeLaw | None] = None,
    confidence: Arg[Number] = 0.95,
) -> ExitDirections:
    """The share of the exits' squared displacement along each eigenvector of the Hessian.

    Args:
        result: an `EscapeResult` or `Paths`.
        landscape: a `Landscape` whose Hessian at its minimum is taken; or the Hessian itself,
            `(d, d)`, symmetric.
        minimum: where displacements are measured from, `(d,)`; the landscape's by default, needed
            for a Hessian.
        law: an `EscapeLaw` of linear jumps, whose prediction stands beside.
        confidence: coverage of each interval, in (0, 1): Clopper and Pearson's, conservative, since
            an exit may count for several directions in part; 100% was measured at 95% for parts
            spread over (0, 1).

    Returns:
        An `ExitDirections`.

    Raises:
        TypeError, ValueError: arguments of another kind or shape, no exit, a law whose jumps do not
            act at once.
    """
    confidence = errors.fraction("confidence", confidence)
    if isinstance(landscape, Landscape):
        minimum = errors.concrete("landscape", landscape).minimum if minimum is None else minimum
        errors.reals("minimum", minimum, f"minimum=jnp.zeros({landscape.dim})", (landscape.dim,))
        hessian = np.asarray(landscape.hessian(jnp.asarray(minimum, dtype=float)), np.float64)
    else:
        hessian = _symmetric(landscape)
        if minimum is None:
            raise ValueError(
                "a Hessian alone does not say where its minimum is. Type minimum=jnp.zeros(d), or "
                "pass a landscape."
            )
    dim = len(hessian)
    minimum = errors.reals("minimum", minimum, f"minimum=jnp.zeros({dim})")
    if minimum.shape != (dim,):
        raise ValueError(
            f"minimum must have shape ({dim},) for this landscape, not "
            f"{minimum.shape}. Make them one."
        )
    exits = exits_of(result, dim)
    predicted = None
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    if law is not None:
        predicted = _predicted(law, vectors)
    components = (exits.first_outside - minimum) @ vectors
    unit = components / np.abs(components).max(1, keepdims=True)
    totals = (unit**2 / np.sum(unit**2, 1, keepdims=True)).sum(0)
    means = [bounded_mean(total, len(components), confidence) for total in totals]
    intervals = np.array([[mean.low, mean.high] for mean in means])
    shares = np.array([mean.value for mean in means])
    return ExitDirections(values, vectors, components, shares, intervals, predicted, confidence)


def _symmetric(hessian: Arg[Numbers]) -> np.ndarray:
    example = "Quadratic(hessian=jnp.eye(2)), or jnp.eye(2)"
    array = errors.reals("landscape, when it is a Hessian,", hessian, example)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(
            f"landscape, when it is a Hessian, must be square, not of shape {array.shape}. For "
            f"example {example}."
        )
    if np.abs(array - array.T).max() > 1e-4 * np.abs(array).max():
        raise ValueError(
            f"landscape, when it is a Hessian, must be symmetric, not {errors.shown(hessian)}. "
            f"For example {example}."
        )
    return array


def _predicted(law: Arg[EscapeLaw], vectors: np.ndarray) -> np.ndarray:
    if not isinstance(law, EscapeLaw):
        raise TypeError(
            f"law must be an EscapeLaw or None, not {type(law).__name__}. Type "
            "escape_law(dynamics, domain)."
        )
    if law.response != "linear":
        raise ValueError(
            "the jumps of this law do not move the position at once along a line (its response is "
            f'"{law.response}"), so it '
            "says nothing about directions. Leave law out."
        )
    if law.ray_direction.shape[1] != len(vectors):
        raise ValueError(
            f"the law has {law.ray_direction.shape[1]} dimensions, the Hessian {len(vectors)}. "
            "Make them one."
        )
    return law.ray_share @ (law.ray_direction @ vectors) ** 2


@dataclass(frozen=True, repr=False)
class LastJumps(Result):
    """The noise in the step in which each trajectory left.

    Attributes:
        ids: trajectories that left, shape `(k,)`.
        steps_back: how many steps before the last one the jump was made; 0 unless a window was
            asked for; shape `(k,)`.
        increment: of the driver, in its own units, shape `(k, noise_dim)`.
        jump: the displacement that it makes at the attractor, `epsilon A y`, in position units,
            shape `(k, d)`.
        reach: share of the way from the attractor to the boundary that this jump goes alone; it
            leaves from 1 on, shape `(k,)`.
        threshold: the reach from which an exit is called a jump.
        jump_share: share of exits that jumped, with its binomial interval.
    """

    ids: np.ndarray
    steps_back: np.ndarray
    increment: np.ndarray = field(repr=False)
    jump: np.ndarray = field(repr=False)
    reach: np.ndarray
    threshold: float
    jump_share: Estimate

    @property
    def jumped(self) -> np.ndarray:
        """Whether each exit was a jump; otherwise it crept out."""
        return self.reach >= self.threshold

    def _table(self) -> Table:
        return Table(
            f"LastJumps of {len(self.ids)} exits",
            [
                (f"jumped (reach of at least {self.threshold:g})", f"{self.jump_share}"),
                ("reach", spread(self.reach)),
                ("steps back", spread(self.steps_back)),
            ],
        )


def last_jumps(
    result: Arg[EscapeResult],
    kernel: Arg[EulerMaruyama],
    domain: Arg[Domain],
    *,
    threshold: Arg[Number] = 0.5,
    window: Arg[Integer | None] = None,
    confidence: Arg[Number] = 0.95,
) -> LastJumps:
    """The jump with which each trajectory left, drawn again from (seed, id, step), and how far it
    goes alone.

    Args:
        result: an `EscapeResult` or `Paths`, made by `kernel`.
        kernel: the `EulerMaruyama` that made it.
        domain: the basin that it left.
        threshold: an exit is a jump when its last step alone, made from the attractor, goes at
            least this share of the way to the boundary; else it is a creep. At small noise a stable
            driver jumps and a Brownian one creeps.
        window: look at so many steps before the exit and take the one that reaches furthest; 1 by
            default. Needed where the noise enters an average, since the position then leaves some
            steps after the jump: about the memory of the average.
        confidence: coverage of the interval of the share of jumps, in (0, 1): Clopper and
            Pearson's, conservative; measured at 95% are 96% to 99% (shares of 0.1 and 0.5 of 20 and
            100 exits).

    Returns:
        A `LastJumps`, one row an exit.

    Raises:
        TypeError, ValueError: arguments of another kind, no exit, no window where one is needed.
    """
    errors.instance(
        "kernel",
        kernel,
        EulerMaruyama,
        "EulerMaruyama(dynamics, dt=1e-3): its increments can be drawn again",
    )
    errors.instance("domain", domain, Domain, "Ball(radius=1.0, center=jnp.zeros(2))")
    if domain.dim != kernel.dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the kernel moves in "
            f"{kernel.dim}. Make them one."
        )
    check_interfaces(kernel, domain)
    threshold = errors.positive_real("threshold", threshold)
    confidence = errors.fraction("confidence", confidence)
    if window is None and kernel.dynamics.response == "flow":
        raise ValueError(
            f"the noise of {type(kernel.dynamics).__name__} enters an average, so the jump comes "
            "some steps before the exit. Say how many to look at, for example window=100."
        )
    window = 1 if window is None else errors.integer("window", window, high=10**6)
    exits = exits_of(result, kernel.dim)
    attractor = errors.concrete("kernel", kernel.dynamics.attractor)
    if not bool(domain.contains(attractor)):
        raise ValueError(
            f"the attractor {np.asarray(attractor)} of the dynamics lies outside the domain, so "
            "the reach of a jump from it is not defined. Mark the minimum that the runs started at."
        )
    num = len(exits.ids)
    pad = (
        np.arange(2 ** (num - 1).bit_length()) % num
    )  # sizes repeat, so that few programs are compiled
    seed, ids = jnp.asarray(split_uint64(exits.seed)), jnp.asarray(split_uint64(exits.ids[pad]))
    steps = jnp.asarray(exits.steps[pad].astype(np.uint32))
    back, *found = _largest(
        kernel, domain, trajectory_key(seed, ids), steps, jnp.arange(window, dtype=jnp.uint32)
    )
    increment, jump, reach = (np.asarray(rows, np.float64)[..., :num].T for rows in found)
    share = bounded_mean(float(np.sum(reach >= threshold)), num, confidence)
    return LastJumps(exits.ids, np.asarray(back)[:num], increment, jump, reach, threshold, share)


@eqx.filter_jit
def _largest(kernel: EulerMaruyama, domain: Domain, key: Array, steps: Array, offsets: Array):
    """Of the increments `offsets` steps before the last: how far back, increment, jump and reach of
    the furthest."""
    dynamics = kernel.dynamics

    def one(words: Array) -> tuple[Array, Array, Array]:
        y = dynamics.driver.increment(words, dynamics.noise_dim, kernel.dt)
        if dynamics.response == "map":
            landing = dynamics.step(dynamics.init(dynamics.attractor), jnp.zeros_like(kernel.dt), y)
            jump = dynamics.position(landing) - dynamics.attractor
        else:
            jump = dynamics.jump(y)
        return y, jump, 1 / domain.ray_distance(dynamics.attractor, jump)

    def look(offset: Array) -> tuple[Array, Array, Array, Array]:
        words = step_words(key, steps - 1 - offset, kernel.words_per_step)
        y, jump, reach = jax.vmap(one, in_axes=-1, out_axes=-1)(words)
        reach = jnp.where(steps > offset, reach, -1)  # before the first step there was none
        return jnp.full(steps.shape, offset), y, jump, reach

    def further(best, offset):
        new = look(offset)
        return jax.tree.map(lambda a, b: jnp.where(new[-1] > best[-1], a, b), new, best), None

    return jax.lax.scan(further, look(offsets[0]), offsets[1:])[0]
