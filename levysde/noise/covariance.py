"""Scales that match the covariance of a gradient noise.

Notation: S the scale, L the driver, C the covariance to match, H a Hessian, B a batch size,
`C_B = C1/B` the covariance of a minibatch gradient, `v = unit_variance(driver)`. The rule
everywhere:

    S S' = C / v,    v = 1 for `Brownian`,    v = 2 for stable noise of scale 1.

Then one step of `dt = eta`, `epsilon = sqrt(eta)` of a driver of finite variance has the noise
covariance `eta^2 C`, that of an optimiser's step. Stable noise below a = 2 has none: there S is the
scale that would have matched at a = 2, where SaS(1) is N(0, 2). Which S, of all with this `S S'`,
says each function: it matters for components noise only.

`C_B ~ H/B` near a minimum of a negative log-likelihood: Xie, Sato, Sugiyama, ICLR 2021; Jastrzebski
et al., arXiv 1711.04623.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.noise.scales import STATE_FREE, LowRankScale, ScalarScale, as_scale
from levysde.parts import in_float64
from levysde.protocols import Driver, Landscape, Scale
from levysde.types import Arg, Integer, Numbers

# of the largest eigenvalue: below it a negative one is rounding, and a singular value is none
_ROUNDING = 1e-5
_FREQUENCIES = 10.0 ** np.arange(-7, 1)  # where the exponent is compared with `v k^2 / 2`
_AGREE = 3e-3


def unit_variance(driver: Arg[Driver], dim: Arg[Integer] = 1) -> float:
    """v, the variance of each coordinate of L at time 1, read off the exponent; `2 s^2` for stable
    noise of scale s.

    Args:
        driver: the noise.
        dim: how many coordinates it has.

    Returns:
        v, the same for every coordinate.

    Raises:
        TypeError: something that is no driver, or whose numbers JAX traces.
        ValueError: the coordinates have no finite variance and no stable scale, or not all the same
            one, uncorrelated.

    Source:
        Elementary: `exponent(k) ~ v |k|^2 / 2` as k -> 0.
    """
    dim = errors.integer("dim", dim)
    errors.instance("driver", driver, Driver, "StableComponents(alpha=1.5)")
    # inside a function that JAX traces nothing is a number
    errors.concrete("driver", (driver, jnp.zeros(())))
    try:
        index = float(driver.index)
    except ValueError:  # a sum of several
        index = 2.0
    axis, slope = np.eye(1, dim)[0], np.cos(np.arange(dim, dtype=float))
    with in_float64(driver) as exact:  # small differences
        if index < 2:
            return float(2 * _real_exponents(exact, axis[None])[0] ** (2 / index))
        along = np.stack([axis, slope / np.linalg.norm(slope)])
        psi = _real_exponents(exact, np.concatenate([h * along for h in _FREQUENCIES]))
    found = 2 * psi.reshape(-1, 2) / _FREQUENCIES[:, None] ** 2
    # from the smallest frequency up: past rounding, to where neighbours agree best, in both
    # directions, before the tails set in
    gaps = [
        np.ptp(pair) / pair.min() if (pair > 0).all() else np.inf
        for pair in (found[i : i + 2] for i in range(7))
    ]
    at = next((i for i, gap in enumerate(gaps) if gap <= _AGREE), None)
    if at is not None:
        while at + 1 < len(gaps) and gaps[at + 1] < gaps[at]:
            at += 1
        return float(found[at + 1, 0])
    raise ValueError(
        f"{type(driver).__name__} shows no finite variance, the same in every direction, so no "
        "scale matches a covariance. Make the scale yourself, for example scale=jnp.ones(2)."
    )


def covariance_scale(
    covariance: Arg[Numbers],
    driver: Arg[Driver],
    *,
    negative: Arg[Literal["refuse", "absolute"]] = "refuse",
) -> Scale:
    """The scale of `driver` that matches a covariance: the symmetric root of `C/v` (see the top of
    the file).

    Args:
        covariance: C: a number, `(d,)` (diagonal), or symmetric `(d, d)`.
        driver: the noise it is for.
        negative: eigenvalues below 0 are refused ("refuse"), or ("absolute") taken by their
            absolute values.

    Returns:
        A scalar, diagonal or dense scale, by the shape of C.

    Raises:
        ValueError, TypeError: a covariance that is not finite, square, symmetric, is traced by JAX,
            zero, or has negative eigenvalues; a driver without a variance to match.

    Source:
        Elementary: `S S' = C / v`.
    """
    root = covariance_root("covariance", covariance, negative)
    dim = len(root) if root.ndim else 1
    scaled = errors.finite(
        "root of covariance", root / np.sqrt(unit_variance(driver, dim)), "covariance=jnp.eye(2)"
    )
    return as_scale(scaled, dim)


def hessian_aligned(
    landscape: Arg[Landscape],
    driver: Arg[Driver],
    *,
    batch_size: Arg[Integer],
    x: Arg[Numbers | None] = None,
    negative: Arg[Literal["refuse", "absolute"]] = "refuse",
) -> Scale:
    """The scale of gradient noise aligned with the Hessian, `C_B = H/B` at one point, as in
    `covariance_scale`.

    Args:
        landscape: the loss, that of one example on average.
        driver: the noise it is for.
        batch_size: B, at least 1.
        x: where H is taken, shape `(d,)`; the minimum by default. It stays this H wherever the
            trajectory goes.
        negative: eigenvalues below 0 are refused ("refuse"), or ("absolute") taken by their
            absolute values, as in Xie et al.

    Returns:
        A dense scale, shape `(d, d)`.

    Raises:
        ValueError, TypeError: no landscape or driver, a number out of range, x of another shape, or
            what `covariance_scale` refuses of the Hessian.

    Source:
        Xie, Sato, Sugiyama, ICLR 2021; Jastrzebski et al., arXiv 1711.04623, 2017.
    """
    errors.instance("landscape", landscape, Landscape, "Quadratic(hessian=jnp.eye(2))")
    batch = errors.integer("batch_size", batch_size, "batch_size=32")
    dim = landscape.dim
    at = errors.concrete("x", landscape.minimum if x is None else x)
    hessian = landscape.hessian(errors.finite("x", at, f"x=jnp.zeros({dim})", (dim,)))
    root = covariance_root("the Hessian", hessian, negative)
    return as_scale(root / np.sqrt(batch * unit_variance(driver, dim)), dim)


def minibatch_scale(
    gradients: Arg[Numbers],
    driver: Arg[Driver],
    *,
    batch_size: Arg[Integer],
    replacement: Arg[bool] = True,
    rank: Arg[Integer | None] = None,
) -> LowRankScale:
    """The scale of the noise of a minibatch's mean gradient, from the gradients of all n examples.

    `C_B = C1/B` for batches drawn with replacement, `C1/B (n-B)/(n-1)` without,
    `C1 = 1/n sum_i (g_i - g)(g_i - g)'`. The columns of S are the principal directions of C1,
    largest first, each times its standard deviation; with components noise each of them jumps by
    itself.

    Args:
        gradients: `g_i`, shape `(n, d)`, n at least 2.
        driver: the noise it is for.
        batch_size: B, at least 1; without replacement below n (the whole set has no noise).
        replacement: whether an example may come twice in a batch.
        rank: how many directions to keep, at most as many as have variance (n - 1 or d, or fewer);
            all by default.

    Returns:
        A `LowRankScale` with `trace_share`, the share of the trace of `C_B` that it keeps.

    Raises:
        ValueError, TypeError: an argument out of range, gradients that JAX traces or that do not
            vary.

    Source:
        Elementary: the covariance of a mean of B draws out of n.
    """
    example = "gradients=jnp.ones((100, 3))"
    array = errors.finite("gradients", errors.concrete("gradients", gradients), example)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise ValueError(
            f"gradients must have shape (n, d) with n at least 2, not {array.shape}. For "
            f"example {example}."
        )
    n = len(array)
    batch = errors.integer("batch_size", batch_size, "batch_size=32")
    if not errors.flag("replacement", replacement) and batch >= n:
        raise ValueError(
            f"batch_size = {batch} without replacement needs more than {batch} examples, but there "
            f"are {n}: "
            + (
                "a batch of all of them has no noise."
                if batch == n
                else "a batch cannot be larger than the data."
            )
        )
    rows = np.asarray(gradients, float)
    _, deviation, directions = np.linalg.svd(
        (rows - rows.mean(0)) / np.sqrt(n), full_matrices=False
    )
    # the mean of n equal rows is not exact, and rows may be rounded to float32
    rounding = float(jnp.finfo(array.dtype).eps) * np.abs(rows).max()
    full = int(np.sum(deviation > max(_ROUNDING * deviation[0], rounding)))
    if not full:
        raise ValueError("gradients do not vary from example to example: a minibatch has no noise.")
    kept = full if rank is None else errors.integer("rank", rank, high=full)
    factor = 1.0 if replacement else (n - batch) / (n - 1)
    size = deviation[:kept] * np.sqrt(factor / (batch * unit_variance(driver, kept)))
    share = np.sum(deviation[:kept] ** 2) / np.sum(deviation[:full] ** 2)
    return LowRankScale(directions[:kept].T * size, trace_share=share)


def trace_matched(
    scale: Arg[Scale | Numbers], dim: Arg[Integer], *, x: Arg[Numbers | None] = None
) -> ScalarScale:
    """The isotropic scale of the same trace of `S S'` as `scale`: `s^2 = tr(S S') / d`.

    For a driver of finite variance, the same noise power; the Lévy tail of stable noise is another
    matter (it adds `|S|^a`).

    Args:
        scale: a number, `(d,)`, `(d, d)` or a `Scale`; None is the identity.
        dim: d, the dimension of the position.
        x: where a scale of the position is taken, shape `(d,)`; None where it depends on none.

    Returns:
        A `ScalarScale`.

    Raises:
        ValueError, TypeError: a scale that does not fit, or one of the position without x.

    Source:
        Elementary.
    """
    dim = errors.integer("dim", dim)
    scale = as_scale(scale, dim)
    if x is None and not isinstance(scale, STATE_FREE):
        raise ValueError(
            f"{type(scale).__name__} may depend on the position: say where by x=jnp.zeros({dim})."
        )
    point = jnp.zeros(dim) if x is None else errors.finite("x", x, f"x=jnp.zeros({dim})", (dim,))
    columns = jax.vmap(lambda y: scale.apply(y, point))(jnp.eye(scale.noise_dim(dim)))
    trace = jnp.sum(columns**2)
    if not errors.is_traced(trace) and not 0 < float(trace) < np.inf:
        raise ValueError(
            f"scale has S S' of trace {float(trace)!r} at x = {np.asarray(point)}. "
            "Give another point."
        )
    return ScalarScale(jnp.sqrt(trace / dim))


def covariance_root(
    name: Arg[str], value: Arg[Numbers], negative: Arg[Literal["refuse", "absolute"]] = "refuse"
) -> np.ndarray:
    """The symmetric root of a covariance, on the host.

    Args:
        name: what messages call the covariance.
        value: a number, `(d,)` (diagonal), or symmetric `(d, d)`.
        negative: eigenvalues below 0 are refused ("refuse"), or ("absolute") taken by their
            absolute values.

    Returns:
        The root in float64, of the shape of `value`.

    Raises:
        ValueError, TypeError: a covariance that is not finite, square, symmetric, is traced by JAX,
            zero, or has negative eigenvalues.

    Source:
        Elementary.
    """
    errors.choice("negative", negative, ("refuse", "absolute"))
    if not isinstance(name, str):
        raise TypeError(
            f"name must be what the covariance is called, not {errors.shown(name)}. For example "
            'name="covariance".'
        )
    example = f"{name.removeprefix('the ').lower()}=jnp.eye(2)"
    # in float64: its root may fit into float32 where it does not
    matrix = errors.reals(name, value, example)
    if matrix.ndim > 2 or not matrix.size or len(set(matrix.shape)) > 1:
        raise ValueError(
            f"{name} must be a number, a vector or a square matrix, not of shape {matrix.shape}."
        )
    size = np.abs(matrix).max()
    if not size:
        raise ValueError(f"{name} is zero throughout: there would be no noise.")
    if matrix.ndim < 2:
        values, vectors = matrix, None
    else:
        gap = np.abs(matrix - matrix.T).max()
        if gap > _ROUNDING * size:
            raise ValueError(
                f"{name} must be symmetric, but differs from its transpose by {gap:.3g}. Give (C + "
                "C') / 2."
            )
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    lowest = values.min()
    if negative == "refuse" and lowest < (0 if vectors is None else -_ROUNDING * size):
        what = (
            "must not be negative, but reaches" if vectors is None else "has a negative eigenvalue,"
        )
        raise ValueError(
            f'{name} {what} {lowest:.4g}. Mend it, or take absolute values by negative="absolute".'
        )
    root = np.asarray(np.sqrt(np.abs(values) if negative == "absolute" else np.maximum(values, 0)))
    return root if vectors is None else (vectors * root) @ vectors.T


@eqx.filter_jit
def _exponents(driver: Driver, k: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jax.vmap(lambda k: jnp.real(driver.exponent(k)))(k)


def _real_exponents(driver: Driver, k: np.ndarray) -> np.ndarray:
    return np.asarray(_exponents(driver, jnp.asarray(k)))
