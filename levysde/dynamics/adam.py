"""ADAM as a stochastic differential equation (Zhou et al., NeurIPS 2020, eq. 5).

    d th = -mu_t Q_t^-1 m dt + eps Q_t^-1 S dL,    Q_t = diag(sqrt(omega_t v) + delta),
    d m  = b1 (grad F(th) - m) dt,                 mu_t    = 1 / (1 - exp(-b1 t)),
    d v  = b2 ((grad f_batch)^2 - v) dt,           omega_t = 1 / (1 - exp(-b2 t)).

`b1, b2` are rates. The algorithm's decay factors correspond as `beta = exp(-b eta)`, with m and v
updated exactly over the step before th moves; then a step of `dt = eta` without noise is one step
of ADAM to rounding. (`(1-beta)/eta` with explicit Euler is off by 1e-2 over 200 steps.) The paper
takes the averaged noise as fresh noise on th (a stated assumption), and the minibatch gradient in v
as independent of it (supplement A.2). Here v follows a finite mean square unless asked otherwise;
`square="sampled"` squares the gradient whose noise is on th. ADAM sends its noise through the
average m. With `noise_in="average"` it does here too:

    d th = -mu_t Q_t^-1 m dt,    d m = b1 (grad F(th) - m) dt - b1 eps S dL;

with `square="sampled"` too, a step of `dt = eta` is one step of ADAM on the gradient
`grad F - eps S increment / eta`.

The Gaussian equations of others, `driver=Brownian()`, `learning_rate=eta` (then `eps = sqrt(eta)`),
`noise_in="average"`, `bias_correction=True`, with a constant gradient covariance C (the scale its
root, `gradient_variance=diag(C)`), and betas:

    Compagnoni et al., ICLR 2025, square="mean", rates=(1 - betas)/eta, their rho; t = k eta, our
    clock:
        d V = rho2 ((grad f)^2 + diag C - V) dt,
        d M = rho1 (grad f - M) dt + sqrt(eta) rho1 C^(1/2) dW,
        d X = -(mu/sqrt(omega)) (M + eta rho1 (grad f - M)) dt / (sqrt(V) + delta/sqrt(omega)),
    Malladi et al., NeurIPS 2022, square="noise", rates=(1 - betas)/eta = eta (c1, c2); t = k eta^2,
    eta times our clock:
        d u = c2 (diag Sigma - u) dt,    d m = c1 (grad f - m) dt + s0 c1 Sigma^(1/2) dW,
        d th = -(mu/sqrt(omega)) m dt / (s0 sqrt(u) + eps0/sqrt(omega)),
        s0 = eta s, eps0 = eta delta, C = s^2 Sigma, v = s^2 u.

Malladi's is ours to the letter, in another clock. In Compagnoni's dX we leave out the term with
eta: the algorithm moves by the new average, and so does a step of `dt = eta` here; the equation of
small dt does not. Rates by default are `-ln(beta)/eta`, a factor `1 + (1 - beta)/2 + ...` larger:
where eta falls with their rates kept, the same to first order.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
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
from levysde.protocols import Driver, NoiseVector, Point, Scalar
from levysde.types import Arg, Number, Numbers

if TYPE_CHECKING:
    from levysde.protocols import Landscape, Scale


class AdamState(NamedTuple):
    """Position, gradient average, squared-gradient average, steps made."""

    x: Array
    m: Array
    v: Array
    count: Array


class Adam(Preconditioned):
    """ADAM's SDE with Q frozen by its own v (Zhou et al. 2020, eq. 5; see the head of this file).

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
        square: model of `(grad f_batch)^2`: "mean" is `(grad F)^2 + gradient_variance` (a modelling
            choice: for a < 2 the true expectation is infinite); "noise" is `gradient_variance`
            alone, for noise that dominates the gradient (Malladi et al. 2022); "sampled" squares
            the gradient with this step's noise.
        bias_correction: False starts from the stationary m = grad F, v (then mu = omega = 1); True
            starts as the algorithm does, from m = v = 0 with mu and omega.
        noise_in: "position" is eq. 5; "average" sends the noise through m, as the algorithm does.

    Raises:
        ValueError, TypeError: parts of the wrong kind or range.

    Source:
        Zhou et al., NeurIPS 2020, eq. 5; with `noise_in="average"` Malladi et al., NeurIPS 2022,
        and Compagnoni et al., ICLR 2025, as the head of this file says.
    """

    rates: Array
    noise_in: str = eqx.field(static=True)

    def __init__(
        self,
        landscape: Arg["Landscape"],
        driver: Arg[Driver],
        *,
        epsilon: Arg[Number | None] = None,
        learning_rate: Arg[Number | None] = None,
        scale: Arg["Scale | Numbers | None"] = None,
        gradient_variance: Arg[Numbers] = 1.0,
        rates: Arg[Numbers | None] = None,
        delta: Arg[Number] = 1e-8,
        square: Arg[Literal["mean", "noise", "sampled"]] = "mean",
        bias_correction: Arg[bool] = False,
        noise_in: Arg[Literal["position", "average"]] = "position",
    ):
        self.landscape, self.driver, self.epsilon, self.scale = noisy_parts(
            landscape, driver, epsilon, learning_rate, scale
        )
        self.rates = _rates(rates, driver, epsilon, learning_rate)
        self.gradient_variance = variance_of(gradient_variance, landscape.dim)
        self.delta = errors.positive("delta", delta)
        self.square = errors.choice("square", square, SQUARES)
        self.bias_correction = errors.flag("bias_correction", bias_correction)
        self.noise_in = errors.choice("noise_in", noise_in, ("position", "average"))

    def init(self, x0: Point) -> AdamState:
        if not self.bias_correction:
            return self.settled(x0)
        return AdamState(x0, jnp.zeros_like(x0), jnp.zeros_like(x0), jnp.zeros((), jnp.uint32))

    def settled(self, x: Point) -> AdamState:
        gradient = self.landscape.gradient(x)
        count = jnp.full((), SETTLED if self.bias_correction else 0, jnp.uint32)
        return AdamState(
            x, gradient, mean_square(self.square, gradient, self.gradient_variance), count
        )

    def moving(self, x: Point) -> AdamState:
        state = self.settled(x)
        extra = self.noise_in_average(self.rates[0], x) if self.noise_in == "average" else 0
        return state._replace(m=state.m + extra)

    def advance(
        self, state: AdamState, dt: Scalar, increment: NoiseVector
    ) -> tuple[AdamState, Point]:
        gradient = self.landscape.gradient(state.x)
        noise = self.epsilon * self.scale.apply(increment, state.x)
        batch = gradient - noise / dt
        square = squared_gradient(self.square, gradient, batch, self.gradient_variance)
        gain = -jnp.expm1(-self.rates * dt)
        m = state.m + gain[0] * ((batch if self.noise_in == "average" else gradient) - state.m)
        v = state.v + gain[1] * (square - state.v)
        mu = omega = jnp.ones_like(dt)
        count = state.count + jnp.uint32(1)
        if self.bias_correction:
            mu, omega = bias_corrections(self.rates, dt, count)
        push = -dt * mu * m if self.noise_in == "average" else noise - dt * mu * m
        return AdamState(state.x, m, v, count), push / (jnp.sqrt(omega * v) + self.delta)

    @property
    def response(self) -> str:
        """Raises ValueError with `square="sampled"`."""
        no_sampled_law(self.square)
        return "flow" if self.noise_in == "average" else "linear"


def _rates(
    rates: Arg[Numbers | None],
    driver: Driver,
    epsilon: Arg[Number | None],
    learning_rate: Arg[Number | None],
) -> Array:
    if rates is not None:
        if any(errors.is_traced(rate) for rate in jax.tree.leaves(rates)):
            rates = jnp.asarray(rates)
        array = errors.finite("rates", rates, shape=(2,))
        if not errors.is_traced(array) and not np.all(np.asarray(array) > 0):
            raise ValueError(
                f"rates must be positive, not {rates!r}. For example rates=(100.0, 1.0)."
            )
        return array
    instead = "Give rates=(b1, b2) per unit of SDE time."
    return decay_rates([0.9, 0.999], learning_rate_of(driver, epsilon, learning_rate, instead))
