"""Drift and diffusion of `dX = b(X) dt + sqrt(2 D(X)) dW` as functions of one point, checked.

`sqrt(2 D)` is any matrix R with `R R' = 2 D`; the noise is read in the Ito convention.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.interfaces import check_domain
from levysde.parts import in_float64
from levysde.protocols import Domain
from levysde.theory.quasi_potential import diffusion_matrix
from levysde.types import Arg, Numbers

PointFunction = Callable[[Array], Array]
Diffusion = Numbers | Callable[[Array], Array | float]


def check_coefficients(
    drift: Arg[PointFunction], diffusion: Arg[Diffusion], dim: int
) -> tuple[PointFunction, PointFunction | Array]:
    """Drift and diffusion in float64, the diffusion a matrix `(d, d)` if it is constant. Raises if
    one of the two does not take a point of `dim` coordinates or does not return what it must."""
    errors.function("drift", drift, example := "drift=lambda x: -x")
    what = f"a real array of shape ({dim},) for a point of that shape"
    x = jax.ShapeDtypeStruct((dim,), np.float64)
    b = _in_float64("drift", drift, x, example)
    with jax.enable_x64(True):
        errors.outcome("drift", b, x, example=example, shape=(dim,), what=what)
        if not callable(diffusion):
            return b, jnp.asarray(diffusion_matrix(diffusion, dim))
    errors.function("diffusion", diffusion, example := "diffusion=lambda x: 1 + x[0] ** 2")
    d = _in_float64("diffusion", diffusion, x, example)
    with jax.enable_x64(True):
        found = errors.outcome("diffusion", d, x, example=example)
    if getattr(found, "shape", None) not in ((), (dim,), (dim, dim)):
        raise ValueError(
            f"diffusion must return a number or an array of shape ({dim},) or ({dim}, {dim}) for a "
            f"point of shape ({dim},), not {found}. For example {example}."
        )
    return b, d


def _in_float64(name: str, fn: Callable, x: jax.ShapeDtypeStruct, example: str) -> Any:
    """A function as a program of its own, traced now in float64, with copies of the arrays that it
    uses. JAX 0.10 gives a NumPy array the precision of its first use by a program that is alive:
    a function that was run in float32 would fail in float64, and one traced here would fail
    later in float32."""

    def copied(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        kept = isinstance(leaf, jax.Array) or not np.issubdtype(leaf.dtype, np.floating)
        return jnp.asarray(np.array(leaf, None if kept else np.float64))

    with in_float64(fn) as precise:
        try:
            # a function without a closure would not be traced
            program = eqx.filter_closure_convert(lambda point: precise(point), x)
        except Exception:  # with the message that says how it fails
            errors.outcome(name, precise, x, example=example)
            raise
        return jax.tree.map(copied, program)


def matrix_at(diffusion: Callable[..., Any] | Array, x: Array) -> Array:
    """D at one point, `(d, d)`."""
    value = jnp.asarray(diffusion(x) if callable(diffusion) else diffusion)
    return jnp.diag(jnp.broadcast_to(value, x.shape)) if value.ndim < 2 else value


@eqx.filter_jit
def _evaluated(drift: Any, diffusion: Any, x: Array) -> tuple[Array, Array]:
    return jax.vmap(drift)(x), jax.vmap(lambda point: matrix_at(diffusion, point))(x)


def coefficients_at(
    drift: PointFunction, diffusion: Any, x: np.ndarray, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """b `(n, d)` and D `(n, d, d)` at points `(n, d)`, finite, D symmetric and positive definite.
    `where` says in a message what the points are."""
    b, d = (np.asarray(value, float) for value in _evaluated(drift, diffusion, jnp.asarray(x)))
    for name, values in (("drift", b), ("diffusion", d)):
        bad = ~np.isfinite(values).reshape(len(x), -1).all(1)
        if bad.any():
            raise ValueError(
                f"{name} must be finite {where}, but at x = {x[bad][0]} it is "
                f"{errors.shown(values[bad][0].tolist())}. Change {name}, or choose other points."
            )
    gaps = np.abs(d - np.swapaxes(d, 1, 2)).max((1, 2)) > 1e-5 * np.abs(d).max((1, 2))
    if gaps.any():
        raise ValueError(
            f"diffusion must be symmetric {where}, but at x = {x[gaps][0]} it is "
            f"{d[gaps][0].tolist()}. Return (D + D.T) / 2."
        )
    smallest = np.linalg.eigvalsh(d)[:, 0]
    weak = ~(smallest > 1e-12 * np.abs(d).max((1, 2)))
    if weak.any():
        raise ValueError(
            f"diffusion must be positive definite {where}, but at x = {x[weak][0]} its smallest "
            f"eigenvalue is {smallest[weak][0]:.3g}. Give every direction noise."
        )
    return b, d


@eqx.filter_jit
def linearised(drift: Any, x: Array) -> tuple[Array, Array]:
    """b `(d,)` at one point and its Jacobian `(d, d)`."""
    return drift(x), jax.jacfwd(drift)(x)


def check_set(name: str, domain: Arg[Domain], dim: int) -> None:
    """Raises unless `domain` is a set of points of `dim` coordinates, without traced numbers."""
    errors.instance(name, domain, Domain, f"{name}=Ball(radius=1.0, center=jnp.zeros({dim}))")
    errors.concrete(name, domain)
    check_domain(domain)
    if domain.dim != dim:
        raise ValueError(
            f"{name} has {domain.dim} dimensions, but a point has {dim}. Give one with as many."
        )


@eqx.filter_jit
def inside(domain: Domain, x: Array) -> Array:
    """Which of the points `(n, d)` a domain contains."""
    return jax.vmap(domain.contains)(x)
