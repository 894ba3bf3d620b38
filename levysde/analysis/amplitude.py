"""The same SDE at another noise amplitude."""

import equinox as eqx

from levysde import errors
from levysde.protocols import Dynamics
from levysde.types import Arg, Number


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
