"""What the optimisers with memory share: their parts, decay factors as rates, and the average of
squared gradients."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.whole import WholeStep
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Number, Numbers

SQUARES = ("mean", "noise", "sampled")  # models of the squared minibatch gradient
SETTLED = 2**31  # a number of steps after which no bias is left to correct


class Averaging(WholeStep):
    """An optimiser whose state is a tuple of the position x and averages, resting at the
    landscape's minimum."""

    landscape: Landscape
    driver: Driver
    epsilon: Array
    scale: Scale

    def position(self, state: Any) -> Point:
        return state.x

    def move(self, state: Any, x: Point) -> Any:
        return state._replace(x=x)

    def noise_in_average(self, rate: Array, x: Point) -> Point:
        """The size of the noise in an average of this rate, about
        `epsilon S (2/rate)^(1/a - 1) / 2`."""
        ones = jnp.ones(self.noise_dim, x.dtype)
        return self.epsilon * self.scale.apply(ones, x) * rate ** (1 - 1 / self._exponent) / 2

    @property
    def _exponent(self) -> Array:
        """The index of the driver; 2 for a sum of several."""
        try:
            return self.driver.index
        except ValueError:
            return jnp.asarray(2.0, dtype=float)

    @property
    def attractor(self) -> Point:
        return self.landscape.minimum


class Preconditioned(Averaging):
    """An optimiser that divides by `Q = diag(sqrt(v) + delta)`, v the average of squared
    gradients."""

    gradient_variance: Array
    delta: Array
    square: str = eqx.field(static=True)  # of SQUARES
    bias_correction: bool = eqx.field(static=True)

    @property
    def preconditioner(self) -> Point:
        """The diagonal of `Q*`, the preconditioner at the minimum."""
        return jnp.sqrt(self.gradient_variance) + self.delta

    def jump(self, y: NoiseVector) -> Point:
        return self.epsilon * self.scale.apply(y, self.attractor) / self.preconditioner

    def linearisation(self) -> Float[Array, "d d"]:
        """`Q*^-1 H`: the position's flow where the averages follow the gradient faster than th
        moves."""
        return self.landscape.hessian(self.attractor) / self.preconditioner[:, None]


def learning_rate_of(
    driver: Driver, epsilon: Arg[Number | None], learning_rate: Arg[Number | None], instead: str
) -> Array:
    """eta: as given, or the one that epsilon stands for, `eps^(a/(a-1))`.

    Raises ValueError for a <= 1 with epsilon alone, `instead` being what to type then.
    """
    if learning_rate is not None:
        return jnp.asarray(learning_rate, dtype=float)
    index = driver.index
    if not errors.is_traced(index) and float(index) <= 1:
        raise ValueError(
            f"alpha = {float(index):.4g} and epsilon = {epsilon!r} stand for no learning rate "
            "(eps = eta^((a-1)/a) needs a > 1), so the rates of the averages are unknown. "
            f"{instead}"
        )
    return jnp.asarray(epsilon, dtype=float) ** (index / (index - 1))


def decay_rates(betas: Arg[Numbers], eta: Array) -> Array:
    """The rates `b = -ln(beta) / eta` per unit of SDE time."""
    return -jnp.log(jnp.asarray(betas, dtype=float)) / eta


def variance_of(value: Arg[Numbers], dim: int) -> Float[Array, " d"]:
    """`diag(C_B)` from a number or `dim` numbers, not negative."""
    array = errors.finite("gradient_variance", value, f"gradient_variance=1.0, or {dim} values")
    if array.shape not in ((), (dim,)):
        raise ValueError(
            f"gradient_variance must be one number or {dim} values, not of shape {array.shape}."
        )
    if not errors.is_traced(array) and np.any(np.asarray(array) < 0):
        raise ValueError(
            "gradient_variance must not be negative: it is the diagonal of a covariance."
        )
    return jnp.broadcast_to(array, (dim,))


def mean_square(square: str, gradient: Point, variance: Point) -> Point:
    """Where v goes while the gradient stays: the mean of `(grad f_batch)^2`, or with "noise" its
    variance alone."""
    return variance if square == "noise" else gradient * gradient + variance


def squared_gradient(square: str, gradient: Point, batch_gradient: Point, variance: Point) -> Point:
    """The model of `(grad f_batch)^2`; a sampled one is kept finite, so that a jump past the float
    range stays a jump."""
    if square != "sampled":
        return mean_square(square, gradient, variance)
    return jnp.minimum(batch_gradient * batch_gradient, jnp.finfo(gradient.dtype).max)


def bias_corrections(rates: Array, dt: Scalar, count: Array) -> Array:
    """`1 / (1 - exp(-b t))` at `t = count dt`, for each rate."""
    return -1 / jnp.expm1(-rates * dt * count.astype(dt.dtype))


def no_sampled_law(square: str) -> None:
    """Raises ValueError for `square="sampled"`: what a jump does there is no matter of the flow
    after it."""
    if square == "sampled":
        raise ValueError(
            'there is no escape law with square="sampled": a jump enters its own preconditioner, '
            "and between jumps v rests on "
            'the noise, so no noiseless flow decides. Type square="mean" for the law, or simulate.'
        )
