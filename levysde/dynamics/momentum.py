"""SGD with momentum, heavy ball or Nesterov, as a stochastic differential equation; and underdamped
Langevin dynamics.

The algorithm, g the noisy gradient, beta its `momentum` (that of `optax.sgd`), in two conventions:

    raw        m <- beta m + g,               x <- x - eta m,    with Nesterov  x <- x - eta (g +
               beta m);
    averaged   m <- beta m + (1 - beta) g,    x <- x - eta m,    with Nesterov  x <- x - eta ((1 -
               beta) g + beta m).

Averaged is raw with the learning rate eta (1 - beta). The equation, with the rate
`b = -ln(beta) / eta` and the gain `G = 1 / (1 - beta)` (raw) or 1 (averaged):

    dx = -m dt,    dm = b (G grad F(x) - m) dt - b G epsilon S dL,

the underdamped Langevin equation of mass `1/(b G)` and friction `1/G`; the noise enters through the
average m. A step:

    w = 1 - exp(-b dt),    g = grad F(x) - epsilon S increment / dt,
    m <- m + w (G g - m),    x <- x - dt m,    with Nesterov  x <- x - dt (w G g + (1 - w) m).

With dt = eta it is the algorithm (`w G` is 1, or 1 - beta, and `epsilon increment = eta S xi` for
`g = grad F - S xi`, xi a unit draw); as dt falls with b and G kept it tends to the equation,
Nesterov's too, whose look-ahead is of order dt. At x at rest `x - x* = G epsilon S y` is the whole
way that a jump y goes where nothing pulls back.

With Gaussian noise the equation has weak order 1: moments at a fixed time are those of the
algorithm up to eta, as eta falls with b and G kept. The modified equation (`equation_order=2`)
has weak order 2:

    dx = -(m + l eta b (G grad F(x) - m)) dt + l eta b G epsilon S dL,
    dm = b (G grad F(x) - m + eta G/2 H(x) m) dt - b G epsilon S dL,    l = 1/2, with Nesterov 3/2.

A step of the algorithm is `z + eta P + eta^2 R + ...`, P the drift of the first equation; the
correction is `eta (R - P' P / 2)`. The noise in dx goes with the gradient: order 2 does not need it
(Li, Tai and E's equation has none), but without it x would diffuse too slowly where nothing pulls
back, by the factor `(1 - l eta b)^2`. Its step over dt is the step above and the correction times
`(eta - dt)/eta`: with dt = eta the algorithm, and off its equation by a multiple of eta dt.

Polyak, USSR Comput. Math. Math. Phys. 4 (1964); Nesterov, Soviet Math. Dokl. 27 (1983); Li, Tai, E,
J. Mach. Learn. Res. 20 (2019).

Underdamped Langevin dynamics has a position and a velocity, and is integrated by BAOAB:

    dX = V dt,    dV = -(grad F(X) + g V) dt + sqrt(2 g D) dW,

mass 1, friction g, temperature D: the stationary law is `exp(-(F(x) + |v|^2/2) / D)`. As g grows
with t/g kept, it tends to `Langevin` with the diffusion D and the clock t/g. A step over dt,
`xi = increment / sqrt(dt)` a unit draw, `c = exp(-g dt)`:

    B  v <- v - dt/2 grad F(x)
    A  x <- x + dt/2 v
    O  v <- c v + sqrt(D (1 - c^2)) xi      (exact)
    A, B again,

of weak order 2, two gradients a step; on a quadratic loss of curvature h the stationary
`<x^2> = D/h` is exact at any stable dt, and `<v^2> = D (1 - h dt^2/4)`.

SGD with momentum (rate b, gain G, S = 1) is the same equation in another clock: with
`t' = sqrt(b G) t`, `V = -m / sqrt(b G)`,

    friction g = sqrt(b / G),    temperature D = G epsilon^2 / 2.

Leimkuhler, Matthews, Appl. Math. Res. Express 2013 (BAOAB); J. Chem. Phys. 138 (2013), the
exactness on a quadratic.
"""

import warnings
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.averages import Averaging, decay_rates, learning_rate_of
from levysde.dynamics.gradient import check_parts, noisy_parts
from levysde.noise import Brownian, as_scale
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Integer, Number, Numbers

_DIGITS = 0.01  # relative change of 1 - momentum by rounding that is warned of


class MomentumState(NamedTuple):
    """Position, and the sum (raw) or average of gradients, each `(d,)`."""

    x: Array
    m: Array


class Momentum(Averaging):
    """SGD with momentum, its noise sent through the momentum (see the top of the file).

    It starts at rest, m = 0, as the algorithm does.

    Args:
        landscape: the loss F.
        driver: the law of L.
        epsilon: noise amplitude, positive; or
        learning_rate: eta, positive, then `epsilon = eta^((a-1)/a)` and a step of `dt = eta` is one
            optimiser step.
        momentum: beta, in (0, 1), of the algorithm at the learning rate given or the one that
            epsilon stands for (`eps^(a/(a-1))`, which needs a > 1); 0.9 by default; or
        forgetting_rate: `b = -ln(beta) / eta`, positive, per unit of SDE time.
        nesterov: look ahead by one step.
        averaged: m is an average of gradients (as in ADAM) and not their sum (as in `optax.sgd` and
            PyTorch).
        scale: S: a number, `(d,)`, `(d, d)`, or a `Scale`; the identity by default.
        equation_order: 1, or 2 for the modified equation of the learning rate given or the one that
            epsilon stands for.

    Raises:
        ValueError, TypeError: parts of the wrong kind or range, both of momentum and
            forgetting_rate, or a learning rate that is needed and unknown.

    Source:
        Underdamped Langevin dynamics, as at the top of the file; order 2 after Li, Tai, E, ICML
        2017.
    """

    forgetting_rate: Array
    gain: Array
    modified: Array | None  # eta of the modified equation
    nesterov: bool = eqx.field(static=True)

    def __init__(
        self,
        landscape: Arg[Landscape],
        driver: Arg[Driver],
        *,
        epsilon: Arg[Number | None] = None,
        learning_rate: Arg[Number | None] = None,
        momentum: Arg[Number | None] = None,
        forgetting_rate: Arg[Number | None] = None,
        nesterov: Arg[bool] = False,
        averaged: Arg[bool] = False,
        scale: Arg[Scale | Numbers | None] = None,
        equation_order: Arg[Integer] = 1,
    ):
        self.landscape, self.driver, self.epsilon, self.scale = noisy_parts(
            landscape, driver, epsilon, learning_rate, scale
        )
        self.nesterov = errors.flag("nesterov", nesterov)
        averaged = errors.flag("averaged", averaged)
        if forgetting_rate is not None and momentum is not None:
            raise ValueError(
                f"give one of momentum and forgetting_rate, not momentum={momentum!r} and "
                f"forgetting_rate={forgetting_rate!r}: the rate is -ln(momentum) over the learning "
                "rate. For example momentum=0.9."
            )
        if forgetting_rate is not None:
            self.forgetting_rate = errors.positive(
                "forgetting_rate", forgetting_rate, "forgetting_rate=10.0"
            )
            instead = "Give learning_rate, or averaged=True."
            eta = 0 if averaged else learning_rate_of(driver, epsilon, learning_rate, instead)
            beta = jnp.exp(-self.forgetting_rate * eta)
        else:
            beta = _decay_factor(0.9 if momentum is None else momentum)
            instead = "Give forgetting_rate=1.0 with averaged=True, or learning_rate."
            self.forgetting_rate = decay_rates(
                beta, learning_rate_of(driver, epsilon, learning_rate, instead)
            )
        self.gain = jnp.ones_like(self.forgetting_rate) if averaged else 1 / (1 - beta)
        self.modified = None
        if errors.integer("equation_order", equation_order, "equation_order=2", high=2) == 2:
            self.modified = learning_rate_of(
                driver, epsilon, learning_rate, "Give learning_rate, or equation_order=1."
            )

    def _arguments(self) -> dict:
        return {**super()._arguments(), "gain": self.gain, "modified": self.modified}

    def init(self, x0: Point) -> MomentumState:
        return MomentumState(x0, jnp.zeros_like(x0))

    def settled(self, x: Point) -> MomentumState:
        return MomentumState(x, self.gain * self.landscape.gradient(x))

    def moving(self, x: Point) -> MomentumState:
        return MomentumState(
            x,
            self.gain
            * (self.landscape.gradient(x) + self.noise_in_average(self.forgetting_rate, x)),
        )

    def advance(
        self, state: MomentumState, dt: Scalar, increment: NoiseVector
    ) -> tuple[MomentumState, Point]:
        noise = self.epsilon * self.scale.apply(increment, state.x)
        push = self.gain * (self.landscape.gradient(state.x) - noise / dt)
        weight = -jnp.expm1(-self.forgetting_rate * dt)
        change = weight * (push - state.m)
        m = state.m + change
        ahead = m + weight * (push - m) if self.nesterov else m
        if self.modified is None:
            return MomentumState(state.x, m), -dt * ahead
        late = dt * (self.modified - dt) * self.forgetting_rate
        _, turned = jax.jvp(self.landscape.gradient, (state.x,), (state.m,))
        lag = 1.5 if self.nesterov else 0.5
        m = state.m + (change + late * self.gain / 2 * turned)
        return MomentumState(state.x, m), -(dt * ahead + late * lag * (push - state.m))

    def jump(self, y: NoiseVector) -> Point:
        """`G epsilon S y`: how far the jump goes in all, where nothing pulls back."""
        return self.gain * self.epsilon * self.scale.apply(y, self.attractor)

    def linearisation(self) -> Float[Array, "d d"]:
        """`G H`: the overdamped limit, m following the gradient faster than x moves."""
        return self.gain * self.landscape.hessian(self.attractor)

    @property
    def response(self) -> str:
        return "flow"


def _decay_factor(value: Arg[Number]) -> Array:
    """beta, with a warning where the spacing of JAX's floats changes `1 - beta`, on which rate and
    gain depend."""
    beta = errors.positive("momentum", value)
    if errors.is_traced(beta):
        return beta
    given, held = float(np.asarray(value)), float(beta)
    if not given < 1:
        raise ValueError(
            f"momentum must lie strictly between 0 and 1, not {value!r}. For example momentum=0.9."
        )
    if not held < 1:
        raise ValueError(
            f"momentum = {value!r} is rounded to 1 by {beta.dtype}. Switch JAX to float64 with "
            'jax.config.update("jax_enable_x64", True), or give forgetting_rate=.'
        )
    change = abs((1 - held) / (1 - given) - 1)
    if change > _DIGITS:
        warnings.warn(
            errors.PrecisionWarning(
                f"momentum = {given!r} is so near 1 that {beta.dtype} changes 1 - momentum by "
                f"{change:.1%}, and the rate and the gain with it. Switch JAX to float64 with "
                'jax.config.update("jax_enable_x64", True), or give forgetting_rate=.'
            ),
            stacklevel=6,  # past the wrapper of names and equinox
        )
    return beta


class UnderdampedState(NamedTuple):
    """Position and velocity, each `(d,)`."""

    x: Array
    v: Array


class Underdamped(Averaging):
    """`dX = V dt, dV = -(grad F + g V) dt + sqrt(2 g D) dW` (see the top of the file).

    It starts at rest, V = 0. There is no escape law of jumps: the noise is Gaussian.

    Args:
        landscape: the loss F.
        diffusion: D, the temperature, positive, in units of the loss.
        friction: g, positive, per unit of time.

    Raises:
        ValueError, TypeError: a part of the wrong kind, or a number that is not positive and
            finite.

    Source:
        BAOAB: Leimkuhler, Matthews, Appl. Math. Res. Express 2013; J. Chem. Phys. 138, 2013.
    """

    friction: Array

    def __init__(self, landscape: Arg[Landscape], *, diffusion: Arg[Number], friction: Arg[Number]):
        self.driver = Brownian()
        check_parts(landscape, self.driver)
        self.landscape = landscape
        self.friction = errors.positive("friction", friction)
        self.epsilon = jnp.sqrt(2 * self.friction * errors.positive("diffusion", diffusion))
        self.scale = as_scale(None, landscape.dim)

    def init(self, x0: Point) -> UnderdampedState:
        return UnderdampedState(x0, jnp.zeros_like(x0))

    def moving(self, x: Point) -> UnderdampedState:
        """At the speed of the temperature, `sqrt(D)`."""
        return UnderdampedState(x, jnp.full_like(x, 1) * self.epsilon / jnp.sqrt(2 * self.friction))

    def advance(
        self, state: UnderdampedState, dt: Scalar, increment: NoiseVector
    ) -> tuple[UnderdampedState, Point]:
        half, decay = dt / 2, self.friction * dt
        # all changes of v are summed before v is added, as those of x are
        change = -half * self.landscape.gradient(state.x)
        first = state.v + change
        noise = self.epsilon * self.scale.apply(increment, state.x + half * first)
        change = (
            change
            + jnp.expm1(-decay) * first
            + jnp.sqrt(-jnp.expm1(-2 * decay) / (2 * decay)) * noise
        )
        displacement = half * (first + (state.v + change))
        change = change - half * self.landscape.gradient(state.x + displacement)
        return UnderdampedState(state.x, state.v + change), displacement

    def jump(self, y: NoiseVector) -> Point:
        """`epsilon y / g`: how far a kick goes in all, where nothing pulls back."""
        return self.epsilon * self.scale.apply(y, self.attractor) / self.friction

    def linearisation(self) -> Float[Array, "d d"]:
        """`H / g`: the overdamped limit, the velocity following the gradient faster than x
        moves."""
        return self.landscape.hessian(self.attractor) / self.friction

    @property
    def response(self) -> str:
        return "flow"
