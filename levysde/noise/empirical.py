"""Gradient noise as it was measured: draws from the examples' own deviations at a point.

Convention of step drivers (see `levysde.noise.steps`): `L_dt = sqrt(dt) xi`, here with

    xi = 1/B (r_{j1} + ... + r_{jB}),   j1 ... jB drawn from the n rows with replacement

so that `xi` has mean 0, covariance `C1/B` with `C1 = 1/n sum_j r_j r_j'`, and no draw larger than
the largest row.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from levysde import errors
from levysde.noise.steps import require_step
from levysde.protocols import Driver, LevyRays, Point, Scalar, Words
from levysde.random import below
from levysde.types import Arg, Integer, Number, Numbers


class EmpiricalSteps(Driver):
    """Bootstrap of measured noise: an increment is a mean of `batch_size` rows, drawn with
    replacement.

    The noise of minibatches that does not change with the position: what a real optimiser's noise
    at a minimum would be if it stayed the same everywhere.

    Args:
        rows: deviations of the examples' gradients, shape `(n, d)`; their mean is taken away.
        batch_size: B, at least 1.
        dt: length of a step in SDE time, the only one allowed; 1 for the noise of an
            `OptimizerKernel`.

    Raises:
        ValueError, TypeError: rows that are no finite matrix, or all the same; numbers out of
            range.

    Source:
        Elementary: a minibatch drawn with replacement (the bootstrap of Efron, Ann. Statist. 7,
        1979).
    """

    rows: Array
    dt: Array
    batch_size: int = eqx.field(static=True)

    def __init__(self, rows: Arg[Numbers], batch_size: Arg[Integer], dt: Arg[Number] = 1.0):
        example = "EmpiricalSteps(landscape.example_gradients(x), batch_size=30)"
        rows = errors.finite("rows", rows, example)
        if rows.ndim != 2 or rows.shape[0] < 2:
            raise ValueError(
                f"rows must have shape (n, d) with n of 2 or more, not {rows.shape}. For "
                f"example {example}."
            )
        self.rows = rows - jnp.mean(rows, 0)[None]
        if not errors.is_traced(rows) and not np.ptp(np.asarray(rows), axis=0).any():
            raise ValueError(
                "rows are all the same, so that they hold no noise. Give the gradient "
                "of each example."
            )
        self.batch_size = errors.integer("batch_size", batch_size, "batch_size=30")
        self.dt = errors.positive("dt", dt, "dt=1.0")

    @property
    def index(self) -> Scalar:
        """2: epsilon = sqrt(eta), so that a step of dt = eta is one optimiser step."""
        return jnp.full_like(self.dt, 2)

    def words_per_step(self, dim: int) -> int:
        self._check_dim(dim)
        return self.batch_size

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        self._check_dim(dim)
        drawn = self.rows[below(words, len(self.rows))]
        return jnp.sqrt(dt) / self.batch_size * jnp.sum(drawn, 0)

    def exponent(self, k: Point) -> Complex[Array, ""]:
        """`-log(phi)/dt`, `phi = (1/n sum_j exp(i sqrt(dt) k.r_j / B))^B`."""
        angle = jnp.sqrt(self.dt) / self.batch_size * jnp.sum(self.rows * k[None, :], 1)
        return -self.batch_size * jnp.log(jnp.mean(jnp.exp(1j * angle))) / self.dt

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        raise ValueError(
            "EmpiricalSteps has bounded steps: at small noise no escape is by one jump, so there "
            "is no escape law of jumps. Fit StableComponents or StudentT to the rows, or use a "
            "Gaussian law, levysde.theory.kramers_law."
        )

    def check_step(self, dt: float) -> None:
        require_step("EmpiricalSteps", self.dt, dt)

    def _check_dim(self, dim: int) -> None:
        if dim != self.rows.shape[1]:
            raise ValueError(
                f"rows have {self.rows.shape[1]} coordinates, but {dim} are asked for. Give rows "
                f"of shape (n, {dim})."
            )
