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

ADAM with decoupled weight decay (Loshchilov, Hutter, ICLR 2019) adds `-lambda th dt` to d th (so
do Compagnoni et al. in theirs). The decay moves the attractor away from the minimum of F, to

    grad F(th*) / (sqrt(grad F(th*)^2 + diag C_B) + delta) + lambda th* = 0

(`square="noise"`: without the gradient under the root), which no loss has as its minimum in
general: ADAMW minimises no regularised F.
"""

from dataclasses import fields
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.averages import (
    Preconditioned,
    bias_corrections,
    decay_rates,
    learning_rate_of,
)
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Number, Numbers

_STAGES = 8
_NEWTON_STEPS = 50
_RESIDUAL = 1e-3  # of the decay's pull at the minimum; what remains is rounding of the gradient


class AdamState(NamedTuple):
    """Position, gradient average, squared-gradient average, steps made."""

    x: Array
    m: Array
    v: Array
    count: Array


class AdamEquation(Preconditioned):
    """What ADAM and ADAMW share: the averages, and a step."""

    rates: Array
    noise_in: str = eqx.field(static=True)

    def init(self, x0: Point) -> AdamState:
        if not self.bias_correction:
            return self.settled(x0)
        return AdamState(x0, jnp.zeros_like(x0), jnp.zeros_like(x0), jnp.zeros((), jnp.uint32))

    def settled(self, x: Point) -> AdamState:
        gradient = self.landscape.gradient(x)
        return AdamState(x, gradient, self.mean_square(gradient), self._settled_count())

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
        square = self.squared_gradient(gradient, batch)
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
        law = super().response
        return "flow" if self.noise_in == "average" else law


class Adam(AdamEquation):
    """ADAM's SDE with Q frozen by its own v (Zhou et al. 2020, eq. 5; see the top of the file).

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
        and Compagnoni et al., ICLR 2025, as the top of the file says.
    """

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
        square: Arg[Literal["mean", "noise", "sampled"]] = "mean",
        bias_correction: Arg[bool] = False,
        noise_in: Arg[Literal["position", "average"]] = "position",
    ):
        Preconditioned.__init__(
            self,
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
        self.noise_in = errors.choice("noise_in", noise_in, ("position", "average"))
        if rates is None:
            instead = "Give rates=(b1, b2) per unit of SDE time."
            eta = learning_rate_of(driver, epsilon, learning_rate, instead)
            self.rates = decay_rates([0.9, 0.999], eta)
            return
        if any(errors.is_traced(rate) for rate in jax.tree.leaves(rates)):
            rates = jnp.asarray(rates)
        self.rates = errors.finite("rates", rates, shape=(2,))
        if not errors.is_traced(self.rates) and not np.all(np.asarray(self.rates) > 0):
            raise ValueError(
                f"rates must be positive, not {rates!r}. For example rates=(100.0, 1.0)."
            )


class AdamW(AdamEquation):
    """ADAM's SDE with decoupled weight decay (see the top of the file).

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
            "landscape": landscape,
            "driver": driver,
            "epsilon": epsilon,
            "learning_rate": learning_rate,
            "scale": scale,
            "gradient_variance": gradient_variance,
            "rates": rates,
            "delta": delta,
        }
        for name, value in (numbers | {"weight_decay": weight_decay}).items():
            errors.concrete(name, value)  # the attractor is found on the host
        adam = Adam(**numbers, square=square, bias_correction=bias_correction, noise_in=noise_in)
        for field in fields(adam):
            setattr(self, field.name, getattr(adam, field.name))
        self.weight_decay = errors.positive("weight_decay", weight_decay, "weight_decay=1e-4")
        self.fixed_point = _fixed_point(adam, self.weight_decay)

    def _derived(self) -> dict[str, Array]:
        return {"fixed_point": _fixed_point(self, self.weight_decay)}

    def advance(
        self, state: AdamState, dt: Scalar, increment: NoiseVector
    ) -> tuple[AdamState, Point]:
        new, displacement = super().advance(state, dt, increment)
        return new, displacement - dt * self.weight_decay * state.x

    @property
    def attractor(self) -> Point:
        return self.fixed_point

    @property
    def preconditioner(self) -> Point:
        return _preconditioner(self, self.attractor)

    def linearisation(self) -> Float[Array, "d d"]:
        """The Jacobian of `grad F / (sqrt(v) + delta) + lambda th`, v following the gradient."""
        return _jacobian(self, self.weight_decay, self.attractor)


def _root(adam: AdamEquation, gradient: Point) -> Point:
    """`sqrt(v)` where v follows, `sqrt(grad F^2 + diag C_B)` or `sqrt(diag C_B)`; differentiable
    where it is 0 (the gradient is 0 there too, and Q does not change)."""
    square = adam.mean_square(gradient)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _preconditioner(adam: AdamEquation, x: Point) -> Point:
    return _root(adam, adam.landscape.gradient(x)) + adam.delta


def _balance(adam: AdamEquation, weight_decay: Scalar, x: Point) -> Point:
    """`grad F + lambda Q x`: the drift times Q, which has its zeros and does not saturate where it
    is steep."""
    return adam.landscape.gradient(x) + weight_decay * _preconditioner(adam, x) * x


def _jacobian(adam: AdamEquation, weight_decay: Scalar, x: Point) -> Float[Array, "d d"]:
    gradient = adam.landscape.gradient(x)
    root = _root(adam, gradient)
    q = root + adam.delta
    follows = (root > 0) & (adam.square != "noise")  # else Q does not change
    saturation = jnp.where(follows, gradient * gradient / (jnp.where(root > 0, root, 1) * q), 0)
    bent = ((1 - saturation) / q)[:, None] * adam.landscape.hessian(x)
    return bent + weight_decay * jnp.eye(len(x))


@eqx.filter_jit
def _newton(adam: AdamEquation, weight_decay: Scalar, x: Point) -> Point:
    import optimistix as optx  # slow to import

    tiny = float(jnp.finfo(x.dtype).eps)
    solver = optx.Newton(rtol=8 * tiny, atol=8 * tiny)
    balance = lambda x, _: _balance(adam, weight_decay, x)  # noqa: E731
    return optx.root_find(balance, solver, x, max_steps=_NEWTON_STEPS, throw=False).value


def _fixed_point(adam: AdamEquation, weight_decay: Scalar) -> Point:
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
