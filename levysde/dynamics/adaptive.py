"""RMSProp, and ADAM with decoupled weight decay, as stochastic differential equations. Notation as
in `adam.py`:

    RMSProp    d th = -Q_t^-1 grad F(th) dt + eps Q_t^-1 S dL,
               d v = b2 ((grad f_batch)^2 - v) dt,
    AdamW      d th = -(mu_t Q_t^-1 m + lambda th) dt + eps Q_t^-1 S dL,    m, v as ADAM's,

`Q_t = diag(sqrt(omega_t v) + delta)`. A step of `dt = eta` without noise is one step of the
algorithm to rounding (RMSProp with delta outside the root,
`optax.rmsprop(..., eps_in_sqrt=False)`). The decay moves the attractor away from the minimum of
F, to

    grad F(th*) / (sqrt(grad F(th*)^2 + diag C_B) + delta) + lambda th* = 0

(`square="noise"`: without the gradient under the root), which no loss has as its minimum in
general: ADAMW minimises no regularised F.

The Gaussian equations of others are those of ADAM's family in `adam.py`, by the same arguments;
RMSProp's need no `noise_in`:

    Compagnoni et al., ICLR 2025, square="mean":
        d X = -(grad f dt + sqrt(eta) C^(1/2) dW) / (sqrt(V) + delta),
    Malladi et al., NeurIPS 2022, square="noise":
        d th = -(grad f dt + s0 Sigma^(1/2) dW) / (s0 sqrt(u) + eps0),

V and u as there, `forgetting_rate=(1 - beta)/eta`; AdamW adds Compagnoni's `-lambda X dt`.

Tieleman, Hinton, Lecture 6.5, COURSERA (2012); Loshchilov, Hutter, "Decoupled weight decay
regularization", ICLR 2019.
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.adam import Adam, AdamState
from levysde.dynamics.averages import (
    SETTLED,
    SQUARES,
    Preconditioned,
    bias_corrections,
    decay_rates,
    learning_rate_of,
    mean_square,
    no_sampled_law,
    squared_gradient,
    variance_of,
)
from levysde.dynamics.gradient import noisy_parts
from levysde.dynamics.whole import WholeStep
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Number, Numbers


class RMSPropState(NamedTuple):
    """Position, squared-gradient average, steps made."""

    x: Array
    v: Array
    count: Array


class RMSProp(Preconditioned):
    """RMSProp's SDE; its noise acts on the position at once (see the head of this file).

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
        self.landscape, self.driver, self.epsilon, self.scale = noisy_parts(
            landscape, driver, epsilon, learning_rate, scale
        )
        if forgetting_rate is None:
            self.forgetting_rate = decay_rates(
                0.9,
                learning_rate_of(driver, epsilon, learning_rate, "Give forgetting_rate=1.0, b2."),
            )
        else:
            self.forgetting_rate = errors.positive("forgetting_rate", forgetting_rate)
        self.gradient_variance = variance_of(gradient_variance, landscape.dim)
        self.delta = errors.positive("delta", delta)
        self.square = errors.choice("square", square, SQUARES)
        self.bias_correction = errors.flag("bias_correction", bias_correction)

    def init(self, x0: Point) -> RMSPropState:
        if not self.bias_correction:
            return self.settled(x0)
        return RMSPropState(x0, jnp.zeros_like(x0), jnp.zeros((), jnp.uint32))

    def settled(self, x: Point) -> RMSPropState:
        gradient = self.landscape.gradient(x)
        count = jnp.full((), SETTLED if self.bias_correction else 0, jnp.uint32)
        return RMSPropState(x, mean_square(self.square, gradient, self.gradient_variance), count)

    def advance(
        self, state: RMSPropState, dt: Scalar, increment: NoiseVector
    ) -> tuple[RMSPropState, Point]:
        gradient = self.landscape.gradient(state.x)
        noise = self.epsilon * self.scale.apply(increment, state.x)
        square = squared_gradient(
            self.square, gradient, gradient - noise / dt, self.gradient_variance
        )
        v = state.v - jnp.expm1(-self.forgetting_rate * dt) * (square - state.v)
        count = state.count + jnp.uint32(1)
        omega = (
            bias_corrections(self.forgetting_rate, dt, count)
            if self.bias_correction
            else jnp.ones_like(dt)
        )
        return RMSPropState(state.x, v, count), (noise - dt * gradient) / (
            jnp.sqrt(omega * v) + self.delta
        )

    @property
    def response(self) -> str:
        """Raises ValueError with `square="sampled"`."""
        no_sampled_law(self.square)
        return "linear"


class AdamW(WholeStep):
    """ADAM's SDE with decoupled weight decay (see the head of this file).

    The attractor is found from the landscape's minimum by Newton steps, in stages of the decay,
    when the object is made: to change a number on which it depends (landscape, gradient_variance,
    delta, weight_decay), make a new object.

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
        rates: `(b1, b2)`, shape `(2,)`, positive, per unit of SDE time. By default `-ln(beta)/eta`
            for betas (0.9, 0.999), eta being the learning rate given or the one that epsilon stands
            for (`eps^(a/(a-1))`, which needs a > 1).
        delta: added to `sqrt(v)`, positive, in units of the gradient.
        weight_decay: lambda, positive, per unit of SDE time (the algorithm's: it is multiplied by
            the learning rate).
        square: model of `(grad f_batch)^2`: "mean" is `(grad F)^2 + gradient_variance` (a modelling
            choice: for a < 2 the true expectation is infinite); "noise" is `gradient_variance`
            alone, for noise that dominates the gradient (Malladi et al. 2022); "sampled" squares
            the gradient with this step's noise.
        bias_correction: False starts from the stationary m = grad F, v (then mu = omega = 1); True
            starts as the algorithm does, from m = v = 0 with mu and omega.
        noise_in: "position" is eq. 5; "average" sends the noise through m, as the algorithm does.

    Raises:
        ValueError, TypeError: parts of the wrong kind or range, numbers that JAX traces, no stable
            fixed point found.

    Source:
        Loshchilov, Hutter, ICLR 2019 (the algorithm); Compagnoni et al., ICLR 2025 (the Gaussian
        equation).
    """

    adam: Adam
    weight_decay: Array
    fixed_point: Array

    def __init__(
        self,
        landscape: Arg[Landscape],
        driver: Arg[Driver],
        *,
        epsilon: Arg[Number | None] = None,
        learning_rate: Arg[Number | None] = None,
        scale: Arg[Scale | Numbers | None] = None,
        gradient_variance: Arg[Numbers] = 1.0,
        rates: Arg[Numbers | None] = None,
        delta: Arg[Number] = 1e-8,
        weight_decay: Arg[Number] = 1e-4,
        square: Arg[Literal["mean", "noise", "sampled"]] = "mean",
        bias_correction: Arg[bool] = False,
        noise_in: Arg[Literal["position", "average"]] = "position",
    ):
        numbers = {
            "epsilon": epsilon,
            "learning_rate": learning_rate,
            "scale": scale,
            "delta": delta,
            "rates": rates,
        }
        numbers |= {
            "landscape": landscape,
            "driver": driver,
            "gradient_variance": gradient_variance,
        }
        for name, value in (numbers | {"weight_decay": weight_decay}).items():
            errors.concrete(name, value)  # the attractor is found on the host
        self.adam = Adam(
            landscape,
            driver,
            epsilon=epsilon,
            learning_rate=learning_rate,
            scale=scale,
            gradient_variance=gradient_variance,
            rates=rates,
            delta=delta,
            square=square,
            bias_correction=bias_correction,
            noise_in=noise_in,
        )
        self.weight_decay = errors.positive("weight_decay", weight_decay, "weight_decay=1e-4")
        self.fixed_point = _fixed_point(self.adam, self.weight_decay)

    def _arguments(self) -> dict:
        return {**self.adam._arguments(), "weight_decay": self.weight_decay}

    def _derived(self) -> dict[str, Array]:
        return {"fixed_point": _fixed_point(self.adam, self.weight_decay)}

    @property
    def landscape(self) -> Landscape:
        """The loss F."""
        return self.adam.landscape

    @property
    def driver(self) -> Driver:
        """The law of L."""
        return self.adam.driver

    @property
    def epsilon(self) -> Array:
        """The noise amplitude."""
        return self.adam.epsilon

    @property
    def scale(self) -> Scale:
        """S, the scale of the noise."""
        return self.adam.scale

    def init(self, x0: Point) -> AdamState:
        return self.adam.init(x0)

    def settled(self, x: Point) -> AdamState:
        return self.adam.settled(x)

    def moving(self, x: Point) -> AdamState:
        return self.adam.moving(x)

    def advance(
        self, state: AdamState, dt: Scalar, increment: NoiseVector
    ) -> tuple[AdamState, Point]:
        new, displacement = self.adam.advance(state, dt, increment)
        return new, displacement - dt * self.weight_decay * state.x

    def position(self, state: AdamState) -> Point:
        return state.x

    def move(self, state: AdamState, x: Point) -> AdamState:
        return state._replace(x=x)

    @property
    def attractor(self) -> Point:
        return self.fixed_point

    @property
    def preconditioner(self) -> Point:
        """The diagonal of `Q*`, the preconditioner at the attractor, where the gradient is not
        0."""
        return _preconditioner(self.adam, self.attractor)

    def jump(self, y: NoiseVector) -> Point:
        return self.epsilon * self.scale.apply(y, self.attractor) / self.preconditioner

    def linearisation(self) -> Float[Array, "d d"]:
        """The Jacobian of `grad F / (sqrt(v) + delta) + lambda th`, v following the gradient."""
        return _jacobian(self.adam, self.weight_decay, self.attractor)

    @property
    def response(self) -> str:
        return self.adam.response


def _root(adam: Adam, gradient: Point) -> Point:
    """`sqrt(v)` where v follows, `sqrt(grad F^2 + diag C_B)` or `sqrt(diag C_B)`; differentiable
    where it is 0 (the gradient is 0 there too, and Q does not change)."""
    square = mean_square(adam.square, gradient, adam.gradient_variance)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _preconditioner(adam: Adam, x: Point) -> Point:
    """The diagonal of Q where v follows the gradient."""
    return _root(adam, adam.landscape.gradient(x)) + adam.delta


def _balance(adam: Adam, weight_decay: Scalar, x: Point) -> Point:
    """`grad F + lambda Q x`: the drift times Q, which has its zeros and does not saturate where it
    is steep."""
    return adam.landscape.gradient(x) + weight_decay * _preconditioner(adam, x) * x


def _jacobian(adam: Adam, weight_decay: Scalar, x: Point) -> Float[Array, "d d"]:
    """Of the drift `grad F / Q + lambda x`."""
    gradient = adam.landscape.gradient(x)
    root = _root(adam, gradient)
    q = root + adam.delta
    follows = (root > 0) & (adam.square != "noise")  # else Q does not change
    saturation = jnp.where(follows, gradient * gradient / (jnp.where(root > 0, root, 1) * q), 0)
    return ((1 - saturation) / q)[:, None] * adam.landscape.hessian(x) + weight_decay * jnp.eye(
        len(x)
    )


@eqx.filter_jit
def _newton(adam: Adam, weight_decay: Scalar, x: Point) -> Point:
    import optimistix as optx  # slow to import

    tiny = float(jnp.finfo(x.dtype).eps)
    solver = optx.Newton(rtol=8 * tiny, atol=8 * tiny)
    found = optx.root_find(
        lambda x, _: _balance(adam, weight_decay, x),
        solver,
        x,
        max_steps=_NEWTON_STEPS,
        throw=False,
    )
    return found.value


def _fixed_point(adam: Adam, weight_decay: Scalar) -> Point:
    """The stable zero of the drift into which the minimum moves as the decay grows from 0, by
    Newton steps at each stage."""
    x = minimum = adam.landscape.minimum
    for share in np.arange(1, _STAGES + 1) / _STAGES:
        x = _newton(adam, weight_decay * jnp.asarray(share, x.dtype), x)
    left = float(jnp.linalg.norm(_balance(adam, weight_decay, x)))
    pull = float(jnp.linalg.norm(_balance(adam, weight_decay, minimum)))
    floor = 100 * float(jnp.finfo(x.dtype).eps * jnp.linalg.norm(_preconditioner(adam, x)))
    curvature = np.asarray(_jacobian(adam, weight_decay, x), float)
    if not (
        np.isfinite(curvature).all()
        and left <= _RESIDUAL * pull + floor
        and np.linalg.eigvals(curvature).real.min() > 0
    ):
        raise ValueError(
            f"weight_decay = {float(weight_decay):.4g} leaves no stable fixed point near the "
            "landscape's minimum: Newton steps from it end at grad F + lambda Q x of norm "
            f"{left:.3g}, having begun at {pull:.3g}. Give a smaller weight_decay."
        )
    return x


_STAGES = 8
_NEWTON_STEPS = 50
_RESIDUAL = 1e-3  # of the decay's pull at the minimum; what remains is rounding of the gradient
