"""Preparing runs: another noise amplitude, and starts from the quasi-stationary law.

Notation: T the escape time. The law of the position at time t given T > t tends to the
quasi-stationary law as t grows, whatever the start. A run that starts from this law has exactly
exponential escape times, with the rate at which the survival from any start decays in the end. So
quasi-stationary starts remove the effect of the first relaxation from a measured mean.

Collet, Martínez, San Martín, "Quasi-Stationary Distributions", Springer 2013, theorem 2.2."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np

from levysde import errors
from levysde.escape import Status, simulate_escape
from levysde.protocols import Dynamics
from levysde.results import Result
from levysde.tables import Table
from levysde.types import Arg, Integer, Number, Numbers, Seed

if TYPE_CHECKING:
    from levysde.protocols import Domain, Kernel


_SMALLEST_BATCH = 512
_SMALLEST_SHARE = 1e-3


@dataclass(frozen=True, repr=False)
class Starts(Result):
    """Positions of trajectories that had not left by `duration`.

    Attributes:
        x0: one start each, shape `(num, d)`: give it to `simulate_escape` with the same `num`.
        duration: how long they had stayed, in `unit`.
        tries: mean number of trajectories run for one that stayed.
        unit: of time.
    """

    x0: np.ndarray
    duration: float
    tries: float
    unit: str

    def _table(self) -> Table:
        num, dim = self.x0.shape
        rows = [
            ("starts", f"{num} in {dim} dimensions"),
            ("without leaving", f"{self.duration:g} {self.unit}"),
            ("tries for each", f"{self.tries:.3g}"),
        ]
        return Table("Starts", rows)


def quasi_stationary_starts(
    kernel: Arg["Kernel"],
    domain: Arg["Domain"],
    x0: Arg[Numbers],
    *,
    num: Arg[Integer],
    seed: Arg[Seed],
    duration: Arg[Number],
) -> Starts:
    """`num` positions of independent trajectories from `x0` that are still inside after `duration`.

    Every trajectory runs to its exit or for `duration`, in batches, and the first `num` that stayed
    are kept by their number: which ones left early chooses nothing else. Only positions are kept: a
    kernel with memory begins anew at each, by its `init`.

    Args:
        kernel, domain, x0: as for `simulate_escape`; `x0` of shape `(d,)`.
        num: number of starts, from 1.
        seed: of the trajectories; those of a later run with the same seed are independent of them.
        duration: in the kernel's unit; several relaxation times, so that x0 is forgotten. See
            whether doubling it moves the mean.

    Returns:
        A `Starts`, whose `x0` has shape `(num, d)`.

    Raises:
        TypeError, ValueError: bad input, before anything is compiled; or fewer than about one
            trajectory in 1000 stays.
    """
    num = errors.integer("num", num)
    seed = errors.seed(seed)
    duration = errors.positive_real("duration", duration)
    start = np.asarray(errors.finite("x0", errors.concrete("x0", x0), "jnp.zeros(2)"))
    if start.ndim != 1:
        raise ValueError(
            f"x0 must be one start of shape (d,), not of shape {start.shape}. For example "
            "jnp.zeros(2)."
        )
    batch, kept, stayed, tried = max(num, _SMALLEST_BATCH), [], 0, 0
    while stayed < num:
        # a seed for each batch, away from that of any run of the user's
        words = np.random.SeedSequence(seed, spawn_key=(tried // batch,)).generate_state(
            1, np.uint64
        )
        result = simulate_escape(
            kernel, domain, start, num=batch, seed=int(words[0]), max_time=duration
        )
        kept.append(result.last_inside[result.status == Status.CENSORED])
        stayed, tried = stayed + len(kept[-1]), tried + batch
        if stayed < num and stayed + 3 < _SMALLEST_SHARE * tried:
            raise ValueError(
                f"{stayed} of {tried} trajectories stayed for duration = {duration:g} "
                f"{result.info.unit}: too few to start from. Give a shorter duration: a few "
                "relaxation times are enough."
            )
    return Starts(np.concatenate(kept)[:num], duration, tried / stayed, kernel.unit)


def with_epsilon(dynamics: Arg[Dynamics], epsilon: Arg[Number]) -> Dynamics:
    """The same SDE at another noise amplitude; every other number is kept.

    Args:
        dynamics: a `Dynamics`, for example `SGD(landscape, driver, epsilon=0.1)`.
        epsilon: the amplitude, positive.

    Returns:
        A copy.

    Raises:
        TypeError, ValueError: something else than dynamics, an amplitude that is not positive.
    """
    errors.instance("dynamics", dynamics, Dynamics, "SGD(landscape, driver, epsilon=0.1)")
    return eqx.tree_at(lambda d: d.epsilon, dynamics, errors.positive("epsilon", epsilon))
