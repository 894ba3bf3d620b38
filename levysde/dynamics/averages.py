"""Optimisers that average gradients: what their SDEs share, and RMSProp:

    d th = -Q_t^-1 grad F(th) dt + eps Q_t^-1 S dL,    Q_t = diag(sqrt(omega_t v) + delta),
    d v  = b2 ((grad f_batch)^2 - v) dt,               omega_t = 1 / (1 - exp(-b2 t)).

Notation as in `adam.py`. A step of `dt = eta` without noise is one step of the algorithm to
rounding, with delta outside the root: `optax.rmsprop(..., eps_in_sqrt=False)`. The Gaussian
equations of others, by the same arguments as ADAM's there and `forgetting_rate=(1 - beta)/eta`, are

    Compagnoni et al., ICLR 2025, square="mean":
        d X = -(grad f dt + sqrt(eta) C^(1/2) dW) / (sqrt(V) + delta),
    Malladi et al., NeurIPS 2022, square="noise":
        d th = -(grad f dt + s0 Sigma^(1/2) dW) / (s0 sqrt(u) + eps0).

Tieleman, Hinton, Lecture 6.5, COURSERA (2012).
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.gradient import Descent, noisy_parts
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Number, Numbers

_SETTLED = 2**31  # a number of steps after which no bias is left to correct


class Averaging(Descent):
    """An optimiser whose state is a tuple of the position x and averages."""

    def position(self, state: Any) -> Point:
        return state.x

    def move(self, state: Any, x: Point) -> Any:
        return state._replace(x=x)

    def noise_in_average(self, rate: Array, x: Point) -> Point:
        """The size of the noise in an average of this rate, about
        `epsilon S (2/rate)^(1/a - 1) / 2`."""
        try:
            index = self.driver.index
        except ValueError:  # a sum of several
            index = jnp.asarray(2.0, dtype=float)
        ones = jnp.ones(self.noise_dim, x.dtype)
        return self.epsilon * self.scale.apply(ones, x) * rate ** (1 - 1 / index) / 2


class Preconditioned(Averaging):
    """An optimiser that divides by `Q = diag(sqrt(v) + delta)`, v the average of squared
    gradients."""

    gradient_variance: Array
    delta: Array
    square: str = eqx.field(static=True)  # the model of the squared minibatch gradient
    bias_correction: bool = eqx.field(static=True)

    def __init__(
        self,
        landscape: Arg[Landscape],
        driver: Arg[Driver],
        epsilon: Arg[Number | None],
        learning_rate: Arg[Number | None],
        scale: Arg[Scale | Numbers | None],
        gradient_variance: Arg[Numbers],
        delta: Arg[Number],
        square: Arg[Literal["mean", "noise", "sampled"]],
        bias_correction: Arg[bool],
    ):
        self.landscape, self.driver, self.epsilon, self.scale = noisy_parts(
            landscape, driver, epsilon, learning_rate, scale
        )
        dim = landscape.dim
        variance = errors.finite(
            "gradient_variance", gradient_variance, f"gradient_variance=1.0, or {dim} values"
        )
        if variance.shape not in ((), (dim,)):
            raise ValueError(
                f"gradient_variance must be one number or {dim} values, not of shape "
                f"{variance.shape}."
            )
        if not errors.is_traced(variance) and np.any(np.asarray(variance) < 0):
            raise ValueError(
                "gradient_variance must not be negative: it is the diagonal of a covariance."
            )
        self.gradient_variance = jnp.broadcast_to(variance, (dim,))
        self.delta = errors.positive("delta", delta)
        self.square = errors.choice("square", square, ("mean", "noise", "sampled"))
        self.bias_correction = errors.flag("bias_correction", bias_correction)

    @property
    def preconditioner(self) -> Point:
        """The diagonal of `Q*`, the preconditioner at the attractor."""
        return jnp.sqrt(self.gradient_variance) + self.delta

    def jump(self, y: NoiseVector) -> Point:
        return self.epsilon * self.scale.apply(y, self.attractor) / self.preconditioner

    def linearisation(self) -> Float[Array, "d d"]:
        """`Q*^-1 H`: the position's flow where the averages follow the gradient faster than th
        moves."""
        return self.landscape.hessian(self.attractor) / self.preconditioner[:, None]

    @property
    def response(self) -> str:
        """Raises ValueError with `square="sampled"`."""
        if self.square == "sampled":
            raise ValueError(
                'there is no escape law with square="sampled": a jump enters its own '
                "preconditioner, and between jumps v rests on the noise, so no noiseless flow "
                'decides. Type square="mean" for the law, or simulate.'
            )
        return "linear"

    def _settled_count(self) -> Array:
        return jnp.full((), _SETTLED if self.bias_correction else 0, jnp.uint32)

    def mean_square(self, gradient: Point) -> Point:
        """Where v goes while the gradient stays: the mean of `(grad f_batch)^2`, or with "noise"
        its variance alone."""
        variance = self.gradient_variance
        return variance if self.square == "noise" else gradient * gradient + variance

    def squared_gradient(self, gradient: Point, batch_gradient: Point) -> Point:
        """The model of `(grad f_batch)^2`; a sampled one is kept finite, so that a jump past the
        float range stays a jump."""
        if self.square != "sampled":
            return self.mean_square(gradient)
        return jnp.minimum(batch_gradient * batch_gradient, jnp.finfo(gradient.dtype).max)


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


def bias_corrections(rates: Array, dt: Scalar, count: Array) -> Array:
    """`1 / (1 - exp(-b t))` at `t = count dt`, for each rate."""
    return -1 / jnp.expm1(-rates * dt * count.astype(dt.dtype))


class RMSPropState(NamedTuple):
    """Position, squared-gradient average, steps made."""

    x: Array
    v: Array
    count: Array


class RMSProp(Preconditioned):
    """RMSProp's SDE; its noise acts on the position at once (see the top of the file).

    There is no escape law with `square="sampled"` (asking for it raises ValueError).

    Args:
        landscape: the loss F.
        driver: the law of L.
        epsilon: noise amplitude, positive; or
        learning_rate: eta, positive, then `epsilon = eta^((a-1)/a)`.
        scale: S: a number, `(d,)`, `(d, d)`, or a `Scale`; the identity by default.
        gradient_variance: `diag(C_B)`, the variance of the minibatch gradient, a number or `(d,)`,
            not negative: the stationary v. It is not read off the scale: with `Brownian` noise and
            a learning rate the two agree where it is the diagonal of `S S'`, as the defaults do.
        forgetting_rate: b2, positive, per unit of SDE time. By default `-ln(0.9)/eta`, eta being
            the learning rate given or the one that epsilon stands for (`eps^(a/(a-1))`, which needs
            a > 1).
        delta: added to `sqrt(v)`, positive, in units of the gradient.
        square: model of `(grad f_batch)^2`: "mean" is `(grad F)^2 + gradient_variance` (a modelling
            choice: for a < 2 the true expectation is infinite); "noise" is `gradient_variance`
            alone, for noise that dominates the gradient (Malladi et al. 2022); "sampled" squares
            the gradient with this step's noise.
        bias_correction: False starts from the stationary v (then omega = 1); True from v = 0 with
            omega.

    Raises:
        ValueError, TypeError: parts of the wrong kind or range.

    Source:
        Tieleman, Hinton, Lecture 6.5, COURSERA, 2012 (the algorithm); Malladi et al., NeurIPS 2022,
        and Compagnoni et al., ICLR 2025 (Gaussian equations).
    """

    forgetting_rate: Array

    def __init__(
        self,
        landscape: Arg[Landscape],
        driver: Arg[Driver],
        *,
        epsilon: Arg[Number | None] = None,
        learning_rate: Arg[Number | None] = None,
        scale: Arg[Scale | Numbers | None] = None,
        gradient_variance: Arg[Numbers] = 1.0,
        forgetting_rate: Arg[Number | None] = None,
        delta: Arg[Number] = 1e-8,
        square: Arg[Literal["mean", "noise", "sampled"]] = "mean",
        bias_correction: Arg[bool] = False,
    ):
        super().__init__(
            landscape,
            driver,
            epsilon,
            learning_rate,
            scale,
            gradient_variance,
            delta,
            square,
            bias_correction,
        )
        if forgetting_rate is None:
            eta = learning_rate_of(driver, epsilon, learning_rate, "Give forgetting_rate=1.0, b2.")
            self.forgetting_rate = decay_rates(0.9, eta)
        else:
            self.forgetting_rate = errors.positive("forgetting_rate", forgetting_rate)

    def init(self, x0: Point) -> RMSPropState:
        if not self.bias_correction:
            return self.settled(x0)
        return RMSPropState(x0, jnp.zeros_like(x0), jnp.zeros((), jnp.uint32))

    def settled(self, x: Point) -> RMSPropState:
        square = self.mean_square(self.landscape.gradient(x))
        return RMSPropState(x, square, self._settled_count())

    def advance(
        self, state: RMSPropState, dt: Scalar, increment: NoiseVector
    ) -> tuple[RMSPropState, Point]:
        gradient = self.landscape.gradient(state.x)
        noise = self.epsilon * self.scale.apply(increment, state.x)
        square = self.squared_gradient(gradient, gradient - noise / dt)
        v = state.v - jnp.expm1(-self.forgetting_rate * dt) * (square - state.v)
        count = state.count + jnp.uint32(1)
        omega = (
            bias_corrections(self.forgetting_rate, dt, count)
            if self.bias_correction
            else jnp.ones_like(dt)
        )
        displacement = (noise - dt * gradient) / (jnp.sqrt(omega * v) + self.delta)
        return RMSPropState(state.x, v, count), displacement
