"""The logarithm of the escape rate as a pure function of JAX, for `jit`, `vmap` and `grad`.

Jumps (notation as in `levysde.theory.exit_law`): along each direction v_i of the Lévy measure, the
jumps beyond the crossing r_i leave the basin,

    rate = sum_i w_i nu_i((r_i, inf)).

A crossing is found by the domain's formula or search. There `g(th* + r epsilon A v) = 0`, g the
distance from the boundary (`Domain.faces`), and Newton's steps from the place found carry the
derivatives with respect to everything in g (the implicit function theorem). The points where a
Gaussian law needs the loss are carried in the same way, by the gradient that vanishes there.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from levysde import errors
from levysde.domains import Sublevel
from levysde.dynamics import SGD, Langevin
from levysde.interfaces import check_domain
from levysde.noise import Brownian
from levysde.protocols import Domain, Dynamics, Landscape, Point, Scalar, Truth
from levysde.theory.exit_law import replicates
from levysde.types import Arg, Integer, Numbers, Seed

# Newton's steps that carry derivatives: one makes the first ones right, two the second ones
_CARRYING = 2
_SEARCHING = 20  # Newton's steps to a stationary point
_ISOTROPIC = 1e-4  # relative difference between the noise of two directions that is rounding
_EXAMPLE = "log_rate(dynamics, Ball(radius=1.0, center=jnp.zeros(2)))"


def log_rate(
    dynamics: Arg[Dynamics],
    domain: Arg[Domain | None] = None,
    *,
    saddles: Arg[Numbers | None] = None,
    num_rays: Arg[Integer] = 4096,
    seed: Arg[Seed] = 0,
) -> Scalar:
    """The logarithm of the escape rate per unit of SDE time, which `jax.jit`, `jax.vmap` and
    `jax.grad` take: with respect to the noise amplitude, the learning rate, alpha, the scale, the
    loss, and the numbers of the domain.

        def rate_of(epsilon, radius):
            noisy = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
            return ls.theory.log_rate(noisy, ls.Ball(radius=radius, center=well.minimum))
        jax.grad(rate_of, argnums=(0, 1))(0.1, 1.0)

    For noise with jumps it is the rate of `escape_law(dynamics, domain, follow=False)`: of jumps
    from the attractor to the outside. Three conditions that `escape_law` checks are assumed here:
    the noiseless flow does not leave the domain, the noise is small (a rate far below the rate of
    relaxation), and a ray whose crossing is searched for stays outside beyond it. For Brownian
    noise it is the rate of `kramers_law` over `saddles`.

    The result has the precision that JAX is set to. In float32, derivatives have about 4 digits;
    for more, compute inside `with jax.enable_x64(True)`.

    Args:
        dynamics: an SDE whose driver has a Lévy measure; or `SGD` or `Langevin` with Brownian noise
            of one strength in all directions.
        domain: the basin, for noise with jumps. With derivatives: domains that know the distance to
            their boundary (`Domain.faces`) or where rays cross it (`Domain.ray_edges`).
        saddles: for Brownian noise, near which points the saddles on the way are, `(d,)`, or
            several, `(k, d)`.
        num_rays: directions for isotropic noise, as in `escape_law`.
        seed: of the quasi-random directions.

    Returns:
        The logarithm of the rate, a scalar; -inf if no jump leaves. NaN where JAX traces the
        numbers and the attractor lies outside the domain, the noise is not of one strength, or a
        saddle is not of index one.

    Raises:
        TypeError: dynamics whose noise enters an average (`Momentum`, `Adam` with a momentum); a
            driver or a domain without formulas; no `domain` or no `saddles` where one is needed.
        ValueError: different dimensions; what becomes NaN where JAX traces the numbers.

    Source:
        Pavlyukevich, Stochastics and Dynamics 11 (2011); Bovier, Eckhoff, Gayrard, Klein, J. Eur.
        Math. Soc. 6 (2004).
    """
    errors.instance("dynamics", dynamics, Dynamics, _EXAMPLE)
    if isinstance(dynamics.driver, Brownian):
        return _over_saddles(dynamics, domain, saddles)
    if saddles is not None:
        raise TypeError(
            f"saddles are for Brownian noise, and {type(dynamics.driver).__name__} noise leaves by "
            f"jumps. Give a domain instead. For example {_EXAMPLE}."
        )
    errors.instance("domain", domain, Domain, _EXAMPLE)
    assert isinstance(domain, Domain)  # for the type checker
    check_domain(domain)
    if domain.dim != dynamics.dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the dynamics move in "
            f"{dynamics.dim}. Make them one."
        )
    if dynamics.response != "linear":
        raise TypeError(
            f"a jump of {type(dynamics).__name__} does not move the position at once and in "
            "proportion, so whether it leaves is found by following the flow, which log_rate does "
            "not do. Use theory.escape_law(dynamics, domain, dt=...)."
        )
    if not any(map(errors.is_traced, jax.tree.leaves(dynamics.driver))):
        dynamics.driver.levy_rays(dynamics.noise_dim, 2, 0)  # says where there are no jumps
    each, seeds = replicates(num_rays, seed)
    value, outside = _by_jumps(dynamics, domain, each, tuple(seeds))
    return _unless(
        outside,
        value,
        f"the attractor {errors.shown(dynamics.attractor)} lies outside the domain. Center the "
        "domain on dynamics.attractor.",
    )


@eqx.filter_jit
def _by_jumps(
    dynamics: Dynamics, domain: Domain, each: int, seeds: tuple[int, ...]
) -> tuple[Scalar, Truth]:
    """The logarithm of the rate of jumps that leave, and whether the attractor is outside."""
    rays = dynamics.driver.traced_rays(dynamics.noise_dim, each, seeds[0])
    sets = [rays.directions]
    for own in seeds[1:]:
        sets.append(dynamics.driver.traced_rays(dynamics.noise_dim, each, own).directions)
        if np.array_equal(sets[0], sets[-1]):
            sets.pop()  # exact directions, the same for every seed
            break
    start, cross = dynamics.attractor, _crossing(domain)

    def along(direction: Array) -> tuple[Array, Array]:
        return cross(start, dynamics.jump(direction))

    radius, sign = jax.vmap(jax.vmap(along))(jnp.asarray(np.stack(sets), start.dtype))
    crossed = (sign != 0) & jnp.isfinite(radius)
    # of each set and each crossing by itself
    log_tail = jax.vmap(jax.vmap(rays.log_tail, 1, 1))
    tails = jnp.where(crossed, log_tail(jnp.where(crossed, radius, 1)), -jnp.inf)
    weights = jnp.where(crossed, sign, 0) * rays.weights[None, :, None] / len(sets)
    value = logsumexp(tails, b=weights)
    return value, ~domain.contains(start)


def _unless(wrong: Array, value: Scalar, why: str) -> Scalar:
    """`value`, or a ValueError; NaN in place of the error where JAX traces the numbers."""
    if errors.is_traced(wrong):
        return jnp.where(wrong, jnp.nan, value)
    if wrong:
        raise ValueError(why)
    return value


Crossing = Callable[[Point, Point], tuple[Float[Array, " k"], Float[Array, " k"]]]


def _crossing(domain: Domain) -> Crossing:
    """A function of a start and a direction: where the ray crosses the boundary, with derivatives,
    and +1 where it leaves, -1 where it comes back, 0 for what is no crossing."""
    fixed = jax.lax.stop_gradient(domain)
    x = jnp.zeros(domain.dim)
    edges = jax.eval_shape(domain.ray_edges, x, x)
    try:
        jax.eval_shape(domain.faces, x)
        faces = True
    except TypeError:
        faces = False
    if edges is None and not faces:
        raise TypeError(
            f"{type(domain).__name__} knows neither the distance to its boundary (`faces`) nor "
            "where rays cross it (`ray_edges`), so the rate has no derivatives. Use "
            "theory.escape_law, or a Ball, Box, HalfSpaces, Ellipsoid or Sublevel."
        )

    def cross(start: Point, v: Point) -> tuple[Array, Array]:
        at, along = jax.lax.stop_gradient((start, v))
        if edges is None:
            radius, sign = fixed.ray_distance(at, along)[None], jnp.ones(1)
        else:
            source = (fixed, at, along) if faces else (domain, start, v)
            radius, sign = _between(*source)
        if faces:
            radius = jax.vmap(lambda r: _carried(domain, start, v, r))(radius)
        return radius, sign

    return cross


def _between(domain: Domain, start: Point, v: Point) -> tuple[Array, Array]:
    """The crossings among the places where a ray may cross: those with the inside on one side."""
    edges = domain.ray_edges(start, v)
    assert edges is not None
    edges = jnp.sort(jnp.where(jnp.isfinite(edges) & (edges > 0), edges, jnp.inf))
    ends = jnp.concatenate([jnp.zeros(1, edges.dtype), edges])
    after = jnp.concatenate([edges, jnp.full(1, jnp.inf, edges.dtype)])
    middle = jnp.where(jnp.isfinite(after), (ends + after) / 2, 2 * ends + 1)
    known = jnp.isfinite(middle)
    inside = jax.vmap(lambda r: domain.contains(start + r * v))(jnp.where(known, middle, 0))
    change = inside[:-1].astype(edges.dtype) - inside[1:].astype(edges.dtype)
    return edges, jnp.where(jnp.isfinite(edges), change, 0)


def _carried(domain: Domain, start: Point, v: Point, radius: Scalar) -> Scalar:
    """A crossing with its derivatives, by Newton's steps on the distance from the boundary."""
    finite = jnp.isfinite(radius) & (radius > 0)
    r = jnp.where(finite, radius, 1)

    def gaps(r: Scalar) -> Array:
        x = start + r * v
        if isinstance(domain, Sublevel):  # as its faces, with fewer derivatives
            return (domain.level - domain.landscape.value(x))[None]
        return domain.faces(x)[0]

    nearest = jnp.argmin(jnp.abs(jax.lax.stop_gradient(gaps(r))))
    for _ in range(_CARRYING):
        gap, slope = jax.jvp(gaps, (r,), (jnp.ones_like(r),))
        gap, slope = gap[nearest], slope[nearest]
        crosses = finite & (slope != 0)
        r = r - jnp.where(crosses, gap / jnp.where(crosses, slope, 1), 0)
    return jnp.where(finite, r, radius)


def _over_saddles(dynamics: Dynamics, domain: Any, saddles: Any) -> Scalar:
    """The rate of Eyring and Kramers, see `levysde.theory.kramers`."""
    if not isinstance(dynamics, SGD | Langevin):
        raise TypeError(
            f"log_rate knows no Gaussian law of {type(dynamics).__name__}. Use SGD or Langevin, or "
            "theory.kramers_law(landscape, saddles=..., diffusion=..., friction=...)."
        )
    if saddles is None or domain is not None:
        raise TypeError(
            "Brownian noise escapes over saddles, not by jumps out of a domain. Type "
            "log_rate(dynamics, saddles=...), with a point near each saddle on the way."
        )
    dim = dynamics.dim
    places = errors.finite("saddles", saddles, f"saddles=jnp.zeros({dim})")
    if places.ndim not in (1, 2) or places.shape[-1] != dim:
        raise ValueError(
            f"saddles must have shape ({dim},), or (k, {dim}) for several, not {places.shape}."
        )
    value, uneven, elsewhere = _by_saddles(dynamics, jnp.atleast_2d(places))
    value = _unless(
        uneven,
        value,
        "the noise is not of one strength in all directions, so the loss is not what a path has to "
        "climb. Use theory.minimum_action.",
    )
    return _unless(
        elsewhere,
        value,
        "Newton's steps from the attractor and the saddles do not end at a minimum and at saddles "
        "of index one above it. Start nearer; theory.stationary_point shows what is found.",
    )


@eqx.filter_jit
def _by_saddles(
    dynamics: SGD | Langevin, places: Float[Array, "k d"]
) -> tuple[Scalar, Truth, Truth]:
    """The logarithm of the rate; whether the noise is uneven; whether a point is of another
    kind."""
    loss, dim = dynamics.landscape, dynamics.dim
    noise = jax.jacfwd(dynamics.jump)(jnp.zeros(dynamics.noise_dim, dynamics.attractor.dtype))
    matrix = noise @ noise.T / 2
    diffusion = jnp.trace(matrix) / dim
    uneven = jnp.max(jnp.abs(matrix - diffusion * jnp.eye(dim))) > _ISOTROPIC * diffusion
    low, curvatures = _stationary(loss, dynamics.attractor)

    def over(place: Point) -> tuple[Scalar, Truth]:
        top, turning = _stationary(loss, place)
        rates = jnp.linalg.eigvalsh(turning)
        barrier = loss.value(top) - loss.value(low)
        right = (rates[0] < 0) & jnp.all(rates[1:] > 0) & (barrier > 0)
        speed = jnp.log(jnp.where(right, -rates[0], 1) / (2 * jnp.pi))
        return speed + (_log_det(curvatures) - _log_det(turning)) / 2 - barrier / diffusion, ~right

    logs, other = jax.vmap(over)(places)
    minimum = jnp.all(jnp.linalg.eigvalsh(curvatures) > 0)
    return logsumexp(logs), uneven, jnp.any(other) | ~minimum


def _stationary(loss: Landscape, near: Point) -> tuple[Point, Float[Array, "d d"]]:
    """The stationary point that Newton's steps reach, with its derivatives, and the Hessian."""

    def step(loss: Landscape, x: Point) -> Point:
        return x - jnp.linalg.solve(loss.hessian(x), loss.gradient(x))

    fixed, start = jax.lax.stop_gradient((loss, near))
    x = jax.lax.fori_loop(0, _SEARCHING, lambda _, x: step(fixed, x), start)
    for _ in range(_CARRYING):
        x = step(loss, x)
    return x, loss.hessian(x)


def _log_det(matrix: Float[Array, "d d"]) -> Scalar:
    return jnp.linalg.slogdet(matrix)[1]
