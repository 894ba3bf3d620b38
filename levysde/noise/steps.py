"""Drivers for discrete optimiser steps: the increments of a random walk over steps of exactly `dt`.

Convention: `L_dt = sqrt(dt) xi`, xi the law of one step's gradient noise. With
`epsilon = sqrt(eta)` (index 2, what `learning_rate=eta` sets) a step of `dt = eta` adds
`eta xi`: one optimiser step. These laws are not known over another dt, so `check_step` refuses
it.

    StudentT          xi = G / sqrt(W / df),  G ~ N(0, I), W ~ chi-square(df);  density ~ (1 +
                      |xi|^2/df)^(-(df + d)/2)
    GaussianMixture   xi = s_J G,             J = j with probability w_j
    EmpiricalSteps    xi = 1/B (r_{j1} + ... + r_{jB}),   j1 ... jB drawn from the n rows with
                      replacement: mean 0, covariance C1/B with `C1 = 1/n sum_j r_j r_j'`, no draw
                      larger than the largest row

A chi-square of real df needs rejection, so the t law is drawn in pairs of coordinates instead: for
d = 2 its radius is `R^2 = df (U^(-2/df) - 1)` exactly (Bailey, Math. Comp. 62, 1994), and given the
pairs before it, with `q = df + sum |pair|^2`, the k-th pair (k = 0, 1, ...) is again a t law, of df
+ 2k degrees of freedom and squared scale `q / (df + 2k)` (Ding, Amer. Statist. 70, 2016). So
`log q` is a sum of exponentials, `e_k = 2 E_k / (df + 2k)`, and

    pair_k = sqrt(q_k (1 - exp(-e_k))) (cos, sin),   log q_k = log df + e_0 + ... + e_k,   E_k unit
                                                     exponentials.
"""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaincc, gammaln
from jaxtyping import Array, Complex

from levysde import errors
from levysde.noise.rays import isotropic_rays, traced_isotropic
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.random import below, exp2, exponential, half_pair, normals, sinpi
from levysde.types import Arg, Integer, Number, Numbers

_LOG2_CAP = float(np.log2(1e30))  # of a draw, so that the state stays finite
_HALF_LOG2_E = float(np.log2(np.e) / 2)
_NODES = 4096  # of the quadrature over log(W / df) in the exponent
_TAIL_NODES = 513  # of that in the tail, which falls off at both ends
_WRITTEN_OUT = 32  # pairs


def _student_tail(df: float, dt: float, dim: int, r: np.ndarray, _: np.ndarray) -> np.ndarray:
    from scipy.special import betainc  # slow to import

    return betainc(df / 2, dim / 2, df / (df + np.asarray(r, dtype=float) ** 2 / dt)) / dt


class _StepDriver(Driver):
    """A law over steps of exactly `dt`."""

    dt: eqx.AbstractVar[Array]

    @property
    def index(self) -> Scalar:
        """2: epsilon = sqrt(eta), so that a step of dt = eta is one optimiser step."""
        return jnp.full_like(self.dt, 2)

    def check_step(self, dt: float) -> None:
        # equal up to float32 rounding
        if errors.is_traced(self.dt) or abs(float(self.dt) - dt) <= 1e-6 * dt:
            return
        name = type(self).__name__
        raise ValueError(
            f"{name} has increments over its own step dt = {float(self.dt):g} only, not over "
            f"dt = {dt:g}: their law over another step is not of the same kind. Type "
            f"{name}(..., dt={dt:g}), or a step of dt={float(self.dt):g}."
        )


def _own_step(dt: Arg[Number], example: str = "") -> Array:
    # a plain number stays one inside jit, where it is compared with the step that is made
    with jax.ensure_compile_time_eval():
        return errors.positive("dt", dt, example)


class StudentT(_StepDriver):
    """Multivariate Student-t steps: rotation-invariant, unit scale matrix (variance `df/(df-2)` a
    coordinate, where df > 2). See the top of the file.

    Args:
        df: degrees of freedom, positive; the tail of one step falls as `r^-df`.
        dt: length of a step in SDE time, the only one allowed: the learning rate, for one optimiser
            step.

    Raises:
        ValueError, TypeError: one that is not a positive, finite number; later, a step over another
            dt (`check_step`).

    Source:
        The law by pairs of coordinates: Bailey, Math. Comp. 62, 1994; Ding, Amer. Statist. 70,
        2016.
    """

    df: Array
    dt: Array

    def __init__(self, df: Arg[Number], dt: Arg[Number]):
        self.df = errors.positive("df", df)
        self.dt = _own_step(dt)

    def words_per_step(self, dim: int) -> int:
        return 2 * ((dim + 1) // 2)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        dtype, half = self.df.dtype, (dim + 1) // 2
        sizes, turns = words[:half], words[half:]
        # the two bits that choose the signs are not those that carry the size below 2^-32
        unit = exponential(sizes, dtype, finer=turns >> jnp.uint32(2))
        e = jax.lax.optimization_barrier(unit * (2 / (self.df + 2 * jnp.arange(half, dtype=dtype))))
        log_q = jnp.log(self.df) + jnp.log(dt) + _running_sum(e)
        # the cap goes on the logarithm: at df = 0.1 a size is up to 1e147
        size = jnp.sqrt(_one_minus_exp(e)) * exp2(jnp.minimum(log_q * _HALF_LOG2_E, _LOG2_CAP))
        pole, centre, sign = half_pair(turns, dtype)
        spin = (turns & jnp.uint32(2)).astype(dtype) - 1
        # put end to end, unlike `normals`: chosen, a size would depend in its last bit on the
        # number of lanes (jax 0.12)
        return jnp.concatenate([size * sinpi(centre) * sign, size * sinpi(pole) * spin])[:dim]

    def exponent(self, k: Point) -> Scalar:
        """`-log(phi)/dt`, phi the law of one increment: with `z = |k| sqrt(df dt)`,
        `phi = z^(df/2) K_(df/2)(z) / (2^(df/2-1) Gamma(df/2))`. By quadrature over
        `t = log(W/df)`, for df from 0.1
        up: where phi is large of `1 - phi`, without cancellation at small k, else of phi about the
        top of its integrand."""
        half = self.df / 2
        square = self.dt * jnp.sum(k * k)
        # e^t has the density exp(-half (e^t - 1 - t)): 40 and more below its top at both ends
        low, high = -(40 / half + 9 / jnp.sqrt(half)), jnp.log1p(40 / half + 9 / jnp.sqrt(half))
        t = jnp.linspace(low, high, _NODES)
        weight = jnp.exp(-half * (jnp.expm1(t) - t))
        weight = weight / jnp.sum(weight)
        inverse = jnp.exp(jnp.minimum(-t, 60))  # finite, so that k = 0 gives 0
        missing = jnp.sum(weight * -jnp.expm1(-square * inverse / 2))
        near = -jnp.log1p(-jnp.minimum(missing, 0.5))
        return jnp.where(missing < 0.5, near, _student_log(half, square)) / self.dt

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        """The law of one increment over dt, per unit time: `|xi|^2/d` has the F law of (d, df). No
        power: index NaN."""
        errors.concrete("StudentT", self)
        df, dt = float(self.df), float(self.dt)
        tail = functools.partial(_student_tail, df, dt, dim)
        return isotropic_rays(dim, num, seed, tail, float("nan"))

    def traced_rays(self, dim: int, num: int, seed: int) -> TracedRays:
        half, dt = self.df / 2, self.dt

        def log_tail(r: Array) -> Array:
            # a normal of variance dt / W, the mean of W's gamma law 1: over u = log W
            scaled = jnp.log(2 * dt) - 2 * jnp.log(r[:, None])
            low = jnp.minimum(scaled, 0) - 45 / half
            high = jnp.minimum(scaled + np.log(60 + dim), jnp.log1p(60 / half))
            u = low + (high - low) * jnp.linspace(0, 1, _TAIL_NODES)[None]
            above = gammaincc(dim / 2, jnp.exp(u - scaled))
            total = jnp.sum(above * jnp.exp(half * (u - jnp.exp(u) - scaled)), 1)
            size = half * (jnp.log(half) + scaled[:, 0]) - gammaln(half) - jnp.log(dt)
            return size + jnp.log(total * (high - low)[:, 0] / (_TAIL_NODES - 1))

        return traced_isotropic(dim, num, seed, log_tail)


class GaussianMixture(_StepDriver):
    """Isotropic scale mixture of normals: a step is `N(0, scales_j^2 I)` with probability
    `weights_j`. See the top of the file.

    Args:
        weights: positive, sum 1, shape `(m,)`.
        scales: standard deviations of a coordinate, shape `(m,)`; not negative, and not all zero.
            Both are kept in the order of rising weight.
        dt: length of a step in SDE time, the only one allowed: the learning rate, for one optimiser
            step.

    Raises:
        ValueError, TypeError: one of the wrong shape or out of range; later, a step over another dt
            (`check_step`).

    Source:
        Elementary.
    """

    weights: Array
    scales: Array
    dt: Array

    def __init__(self, weights: Arg[Numbers], scales: Arg[Numbers], dt: Arg[Number]):
        example = "weights=[0.9, 0.1], scales=[1.0, 10.0]"
        weights = errors.finite("weights", weights, example)
        scales = errors.finite("scales", scales, example)
        if weights.ndim != 1 or weights.shape != scales.shape:
            raise ValueError(
                "weights and scales must be two lists of one length, not of shapes "
                f"{weights.shape} and {scales.shape}. For example {example}."
            )
        if not errors.is_traced(weights):
            p = np.asarray(weights)
            if (p <= 0).any() or abs(float(p.sum()) - 1) > 1e-5:
                raise ValueError(
                    f"weights must be positive with sum 1, not {p!r}. For example {example}."
                )
        if not errors.is_traced(scales):
            sizes = np.asarray(scales)
            if (sizes < 0).any() or not sizes.any():
                raise ValueError(
                    f"scales must not be negative, nor zero throughout, but are {sizes!r}. For "
                    f"example {example}."
                )
        order = jnp.argsort(weights)
        self.weights, self.scales = (weights / jnp.sum(weights))[order], scales[order]
        self.dt = _own_step(dt)

    def words_per_step(self, dim: int) -> int:
        return 1 + 2 * ((dim + 1) // 2)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        size = jnp.sqrt(dt) * self._scale(words[0], words[-1])
        return size * normals(words[1:], dim, self.scales.dtype)

    def _scale(self, word: Array, finer: Array) -> Scalar:
        """The scale of the component that a word chooses; rare ones come first, where a uniform is
        finest."""
        half, _, _ = half_pair(word, self.weights.dtype, finer=finer >> jnp.uint32(2))
        edges, chosen = jnp.cumsum(self.weights) / 2, self.scales[-1]
        for j in range(len(self.scales) - 2, -1, -1):
            chosen = jnp.where(half < edges[j], self.scales[j], chosen)
        return chosen

    def exponent(self, k: Point) -> Scalar:
        """`-log(phi)/dt`, `phi = sum_j weights_j exp(-scales_j^2 |k|^2 dt / 2)`."""
        square = self.dt * jnp.sum(k * k) * self.scales**2
        # without cancellation where it is small
        missing = jnp.sum(self.weights * -jnp.expm1(-square / 2))
        far = jax.nn.logsumexp(-square / 2, b=self.weights)
        near = -jnp.log1p(-jnp.minimum(missing, 0.5))
        return jnp.where(missing < 0.5, near, -far) / self.dt

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        raise ValueError(
            "GaussianMixture has steps with light (Gaussian) tails: at small noise no escape is "
            "by one jump, so there is no escape law of jumps. Use StudentT(df=3.0, dt=...), or a "
            "Gaussian law, levysde.theory.kramers_law."
        )


class EmpiricalSteps(_StepDriver):
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
        self.dt = _own_step(dt, "dt=1.0")

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

    def _check_dim(self, dim: int) -> None:
        if dim != self.rows.shape[1]:
            raise ValueError(
                f"rows have {self.rows.shape[1]} coordinates, but {dim} are asked for. Give rows "
                f"of shape (n, {dim})."
            )


def _student_log(half: Scalar, square: Scalar) -> Scalar:
    """`-log phi` where phi is not close to 1:
    `phi = int exp(-half (e^t - t) - square e^-t / 2) dt / (Gamma(half) half^-half)`, from the
    top of the integrand down by 40 and more to either side."""
    top = jnp.log((1 + jnp.sqrt(1 + 2 * square / half)) / 2)
    rising, falling = half * jnp.exp(top), square / 2 * jnp.exp(-top)  # they differ by half
    reach = 9 / jnp.sqrt(rising + falling)
    low, high = jnp.log1p(40 / jnp.maximum(falling, 1e-6)) + reach, jnp.log1p(40 / rising) + reach
    u = jnp.linspace(-low, high, _NODES)
    below = rising * (jnp.expm1(u) - u) + falling * (jnp.expm1(-u) + u)
    area = jnp.sum(jnp.exp(-below)) * (low + high) / (_NODES - 1)
    return (
        rising
        + falling
        - half * top
        - jnp.log(area)
        + jax.scipy.special.gammaln(half)
        - half * jnp.log(half)
    )


def _running_sum(e: Array) -> Array:
    """Cumulative sum, additions in order: written out where there are few (three times as fast).
    The barriers here and before it keep XLA from computing every term again in each later one."""
    if len(e) > _WRITTEN_OUT:
        return jnp.cumsum(e)
    return jax.lax.optimization_barrier(
        jnp.stack(list(itertools.accumulate(e[k] for k in range(len(e)))))
    )


def _one_minus_exp(e: Array) -> Array:
    """`1 - exp(-e)` for e > 0, right relative to itself at both ends; in float32 at half the cost
    of XLA's own."""
    if e.dtype != jnp.float32:
        return -jnp.expm1(-e)
    small = e * (1 - e * (1 / 2 - e * (1 / 6 - e / 24)))
    return jnp.where(e < 2.0**-5, small, 1 - exp2(-2 * _HALF_LOG2_E * jnp.maximum(e, 2.0**-5)))
