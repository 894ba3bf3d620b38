"""Scales that match the covariance of a gradient noise at every position: multiplicative noise.

Notation and rule as in `covariance.py`: `S(x) S(x)' = C(x) / v`, v the driver's `unit_variance`,
and then one step of `dt = eta`, `epsilon = sqrt(eta)` from x has the noise covariance `eta^2 C(x)`
of an optimiser's step there. Two C:

    |H(x)| / B      aligned with the Hessian at x (absolute eigenvalues),
    C1(x) / B       of a minibatch drawn with replacement, `C1 = 1/n sum_i (g_i - g)(g_i - g)'` over
                    the n examples.

Read as Ito by the dynamics, as an optimiser does: S is taken before the step.

`|H|/B`: Xie, Sato, Sugiyama, ICLR 2021; `C1/B`: Li, Tai, E, ICML 2017.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.noise.covariance import unit_variance
from levysde.noise.scales import StateScale
from levysde.parts import as_module
from levysde.protocols import Driver, Landscape, Point
from levysde.types import Arg, Integer


def hessian_scale(
    landscape: Arg[Landscape], driver: Arg[Driver], *, batch_size: Arg[Integer]
) -> StateScale:
    """The scale of gradient noise aligned with the Hessian at the position,
    `S(x) = sqrt(|H(x)| / (B v))`, symmetric.

    `hessian_aligned` keeps the H of one point; here it is computed in every step, and decomposed:
    meant for few dimensions. Up to two the root is in closed form, and bits do not depend on the
    number of lanes. The noise vanishes where H does: with `Brownian` noise alone no path in one
    dimension crosses an inflection (the drift points back there).

    Args:
        landscape: the loss, that of one example on average.
        driver: the noise it is for.
        batch_size: B, at least 1.

    Returns:
        A `StateScale`, its matrix of shape `(d, d)`.

    Raises:
        ValueError, TypeError: parts of the wrong kind, or a driver without a variance to match.

    Source:
        Xie, Sato, Sugiyama, ICLR 2021.
    """
    errors.instance("landscape", landscape, Landscape, "Quadratic(hessian=jnp.eye(2))")
    batch = errors.integer("batch_size", batch_size, "batch_size=32")
    factor = (batch * unit_variance(driver, landscape.dim)) ** -0.5
    return StateScale(_HessianRoot(landscape, jnp.asarray(factor, dtype=float)), dim=landscape.dim)


def minibatch_state_scale(
    example_gradients: Arg[Callable[[Array], Array]],
    n: Arg[Integer],
    dim: Arg[Integer],
    driver: Arg[Driver],
    *,
    batch_size: Arg[Integer],
) -> StateScale:
    """The scale of a minibatch's mean gradient at the position: column i of S(x) is
    `(g_i(x) - g(x)) / sqrt(n B v)`.

    `S S' = C1(x) / (B v)` exactly, with no decomposition; the driver has as many coordinates as
    there are examples. With components noise each example jumps by itself.

    The covariance is right at every position, but the escapes are not those of SGD: with Gaussian
    noise they came 1.15 to 6 times too early in the seven small models of the page "Read a
    comparison", since minibatch noise of the same covariance has another shape. `OptimizerKernel`
    runs the algorithm itself.

    Args:
        example_gradients: a function of x that returns `g_i(x)`, shape `(n, dim)`, for example that
            of the same name of a landscape made by `from_network`.
        n: the number of examples, at least 2.
        dim: d, the dimension of x.
        driver: the noise it is for.
        batch_size: B, at least 1, drawn with replacement.

    Returns:
        A `StateScale`, its matrix of shape `(dim, n)`.

    Raises:
        ValueError, TypeError: a number out of range, something that is no function, fails, or
            returns another shape; a driver without a variance to match.

    Source:
        Li, Tai, E, ICML 2017, whose covariance it is.
    """
    n = errors.integer("n", n, low=2)
    dim = errors.integer("dim", dim)
    batch = errors.integer("batch_size", batch_size, "batch_size=32")
    example = "network.example_gradients of a landscape made by from_network"
    errors.function("example_gradients", example_gradients, example)
    x = jax.ShapeDtypeStruct((dim,), jnp.zeros(0).dtype)
    shape, what = (n, dim), f"a real array of shape (n, dim) = ({n}, {dim}), one row an example"
    errors.outcome(
        "example_gradients(x)", example_gradients, x, example=example, shape=shape, what=what
    )
    factor = (n * batch * unit_variance(driver, n)) ** -0.5
    centred = _Centred(as_module(example_gradients), jnp.asarray(factor, dtype=float))
    return StateScale(centred, dim=dim, noise_dim=n)


def absolute_root(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """The symmetric root of |matrix|, matrix symmetric."""
    if matrix.shape[0] == 1:
        return jnp.sqrt(jnp.abs(matrix))
    if matrix.shape[0] == 2:
        return _root_of_two(matrix)
    values, vectors = jnp.linalg.eigh(matrix)
    return jnp.sum(
        vectors[:, None, :] * vectors[None, :, :] * jnp.sqrt(jnp.abs(values))[None, None, :], 2
    )


class _HessianRoot(eqx.Module):
    landscape: Landscape
    factor: Array

    def __call__(self, x: Point) -> Float[Array, "d d"]:
        return self.factor * absolute_root(self.landscape.hessian(x))


class _Centred(eqx.Module):
    example_gradients: Callable
    factor: Array

    def __call__(self, x: Point) -> Float[Array, "d n"]:
        rows = self.example_gradients(x)
        return self.factor * (rows - jnp.mean(rows, 0, keepdims=True)).T


def _root_of_two(matrix: Float[Array, "2 2"]) -> Float[Array, "2 2"]:
    """With eigenvalues `mean +- gap` and roots s, t of their sizes: `(s + t)/2 + (s - t)/2 (matrix
    - mean)/gap`, where `(s - t)/gap = 2 mean / (max(|mean|, gap) (s + t))` does not cancel."""
    a, b, c = matrix[0, 0], (matrix[0, 1] + matrix[1, 0]) / 2, matrix[1, 1]
    mean, half = (a + c) / 2, (a - c) / 2
    gap = jnp.hypot(half, b)
    total = jnp.sqrt(jnp.abs(mean + gap)) + jnp.sqrt(jnp.abs(mean - gap))
    largest = jnp.maximum(jnp.abs(mean), gap)
    tilt = jnp.where(largest > 0, mean / jnp.where(largest > 0, largest * total, 1), 0)
    return jnp.stack(
        [
            jnp.stack([total / 2 + tilt * half, tilt * b]),
            jnp.stack([tilt * b, total / 2 - tilt * half]),
        ]
    )
