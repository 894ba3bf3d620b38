"""Drift and diffusion of `dX = b(X) dt + sqrt(2 D(X)) dW` as functions of one point, checked.

`sqrt(2 D)` is any matrix R with `R R' = 2 D`; the noise is read in the Ito convention.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.interfaces import check_domain
from levysde.parts import as_module, in_float64
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
    with in_float64(_anew(drift)) as b:
        errors.outcome("drift", b, x, example=example, shape=(dim,), what=what)
        if not callable(diffusion):
            return b, jnp.asarray(diffusion_matrix(diffusion, dim))
    errors.function("diffusion", diffusion, example := "diffusion=lambda x: 1 + x[0] ** 2")
    with in_float64(_anew(diffusion)) as d:
        found = errors.outcome("diffusion", d, x, example=example)
    if getattr(found, "shape", None) not in ((), (dim,), (dim, dim)):
        raise ValueError(
            f"diffusion must return a number or an array of shape ({dim},) or ({dim}, {dim}) for a "
            f"point of shape ({dim},), not {found}. For example {example}."
        )
    return b, d


def _anew(fn: Callable) -> Any:
    """A function as a module that was never traced: what it takes from outside may have changed."""
    return fn if isinstance(fn, eqx.Module) else as_module(functools.partial(fn))


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
