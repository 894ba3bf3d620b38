"""Results of escape runs whose times are known, made without a simulation."""

import jax.numpy as jnp
import numpy as np

import levysde as ls
from levysde.escape import EscapeResult, RunInfo, Status
from levysde.theory import escape_law


def law(epsilon=0.05, domain=None, alpha=1.5):
    """Mean 112 at the default epsilon, stiffness 4."""
    well = ls.Quadratic(hessian=jnp.array([1.0, 4.0]))
    dynamics = ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon)
    return escape_law(dynamics, domain or ls.Ball(radius=1.0, center=jnp.zeros(2)), check=False)


def run(time, cut=np.inf, dt=1e-3, unit="SDE time", status=None):
    """A result with the given escape times, censored at `cut`."""
    num = len(time)
    exited = np.asarray(time) < cut
    status = (
        np.where(exited, Status.EXITED, Status.CENSORED).astype(np.int8)
        if status is None
        else status
    )
    info = RunInfo(
        kernel="a kernel",
        domain="a domain",
        unit=unit,
        dt=dt,
        seed=0,
        num=num,
        lanes=16,
        workers=1,
        device="cpu",
        versions={},
    )
    blank = np.zeros((num, 2))
    steps = np.ones(num, np.uint32)
    return EscapeResult(
        np.minimum(time, cut),
        status == Status.EXITED,
        exited.astype(np.int32),
        blank,
        blank,
        steps,
        status,
        info,
    )


def exponential(num, mean, seed=0):
    return np.random.default_rng(seed).exponential(mean, num)
