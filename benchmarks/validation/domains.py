"""Domains: rates in closed form, exit sides, distances by minimisation, basins against an ODE
solver."""

from collections.abc import Iterator
from math import gamma, pi, sin

import jax
import jax.numpy as jnp
import numpy as np
from check import Check
from scipy import integrate, optimize

import levysde as ls
from levysde.domains import entry_distance
from levysde.theory import boundary_shift

ALPHA, EPSILON = 1.5, 0.1
# of passing one plane at distance 1
RATE = EPSILON**ALPHA * gamma(1 + ALPHA) * sin(pi * ALPHA / 2) / pi / ALPHA
WELL = ls.Quadratic(hessian=jnp.eye(2))
MB_MINIMA = np.array([[-0.55822, 1.44173], [0.62350, 0.02804], [-0.05001, 0.46669]])


def rate(domain, driver=ls.StableComponents, landscape=WELL) -> float:
    return ls.escape_law(
        ls.SGD(landscape, driver(alpha=ALPHA), epsilon=EPSILON), domain, check=False
    ).rate


def share_wrong(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean(found != expected))


def shapes() -> Iterator[Check]:
    matrix = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 4.0]])
    shape, well = (
        ls.Ellipsoid(center=jnp.zeros(3), matrix=jnp.array(matrix)),
        ls.Quadratic(hessian=jnp.eye(3)),
    )
    expected = 2 * RATE * np.sum(np.diag(matrix) ** (ALPHA / 2))
    yield Check(
        "Ellipsoid",
        "escape rate, 3 stable components",
        rate(shape, landscape=well),
        expected,
        1e-5,
        "closed form, eps^a (2 C_a / a) sum M_ii^(a/2)",
    )
    root, x = np.linalg.inv(np.linalg.cholesky(matrix)).T, np.array([0.2, -0.4, 0.1])

    def away(u):
        return np.sum((root @ u / np.linalg.norm(u) - x) ** 2)

    starts = np.random.default_rng(0).normal(size=(20, 3))
    nearest = np.sqrt(min(optimize.minimize(away, u, tol=1e-12).fun for u in starts))
    yield Check(
        "boundary_distance",
        "distance from (0.2, -0.4, 0.1) to the boundary of the ellipsoid above",
        float(ls.boundary_distance(shape, jnp.array(x))),
        float(nearest),
        1e-5,
        "minimisation over the surface",
    )
    normal = np.array([0.6, -0.8])
    plane = ls.half_space(normal=jnp.array(normal), offset=0.7)
    yield Check(
        "HalfSpaces",
        "escape rate of a half-space, stable components",
        rate(plane),
        RATE * 0.7**-ALPHA * np.sum(np.abs(normal) ** ALPHA),
        1e-5,
        "closed form, eps^a (C_a / a) b^-a sum |n_i|^a",
    )
    yield Check(
        "HalfSpaces",
        "escape rate of the half-space, isotropic noise",
        rate(plane, ls.StableIsotropic),
        RATE * 0.7**-ALPHA,
        1e-4,
        "closed form: the projection on the normal is SaS(1)",
    )
    normals = np.stack([np.cos(pi / 3 * np.arange(6)), np.sin(pi / 3 * np.arange(6))], 1)
    hexagon = ls.HalfSpaces(normals=jnp.array(normals), offsets=jnp.ones(6))
    expected = integrate.quad(lambda t: np.cos(t) ** ALPHA, -pi / 6, pi / 6)[0] * 3 / pi
    total = 2**ALPHA * gamma(1 + ALPHA / 2) / gamma(1 - ALPHA / 2)
    yield Check(
        "HalfSpaces",
        "escape rate of a hexagon, isotropic noise",
        rate(hexagon, ls.StableIsotropic),
        EPSILON**ALPHA * total * expected,
        1e-4,
        "quadrature of the ray distance over the angle",
    )


def algebra() -> Iterator[Check]:
    strip = ls.Box(lower=jnp.array([-1.0, -jnp.inf]), upper=jnp.array([2.0, jnp.inf]))
    both = ls.Intersection(strip, ls.Ball(radius=1.5, center=jnp.zeros(2)))
    yield Check(
        "Intersection",
        "escape rate of a strip cut by a disc",
        rate(both),
        RATE * (1 + 3 * 1.5**-ALPHA),
        1e-5,
        "closed form, along the axes",
    )
    disc = ls.Ball(radius=1.0, center=jnp.array([3.0, 0.0]))
    law = ls.escape_law(
        ls.SGD(WELL, ls.StableIsotropic(alpha=ALPHA), epsilon=EPSILON),
        ls.Complement(disc),
        num_rays=32768,
        check=False,
    )
    density = ALPHA * 2 ** (ALPHA - 1) * gamma(1 + ALPHA / 2) / (pi * gamma(1 - ALPHA / 2))
    mass = integrate.dblquad(
        lambda t, r: r * (9 + 6 * r * np.cos(t) + r * r) ** (-1 - ALPHA / 2), 0, 1, 0, 2 * pi
    )[0]
    yield Check(
        "Complement",
        "rate of jumping into a disc, isotropic noise",
        law.rate,
        EPSILON**ALPHA * density * mass,
        2e-3,
        "the Lévy density integrated over the disc",
    )
    wells = ls.ExitSets(ls.Box(lower=[0.8], upper=[2.0]), ls.Box(lower=[-7.0], upper=[-3.0]))
    expected = RATE * (0.8**-ALPHA - 2.0**-ALPHA + 3.0**-ALPHA - 7.0**-ALPHA)
    yield Check(
        "ExitSets",
        "total rate of jumps into one of two other wells",
        rate(wells, landscape=ls.Quadratic(hessian=jnp.ones(1))),
        expected,
        1e-5,
        "closed form, sum of the rates into the two wells",
    )
    lens = ls.Intersection(
        ls.Ball(radius=1.0, center=jnp.array([2.0, 0.0])),
        ls.Ball(radius=1.0, center=jnp.array([2.5, 0.0])),
    )
    v = jnp.array([1.0, 0.2])
    searched = ls.Predicate(lambda x: lens.contains(x), dim=2)
    root = (5 - np.sqrt(25 - 4 * 1.04 * 5.25)) / (2 * 1.04)  # |v r - (2.5, 0)| = 1
    yield Check(
        "entry_distance",
        "distance into a lens, by search",
        float(entry_distance(searched, jnp.zeros(2), v)),
        root,
        1e-4,
        "root of the quadratic",
    )


def sides() -> Iterator[Check]:
    """Labels of simulated exits, the boundaries moved out by the shift of the Euler skeleton."""
    sets = ls.ExitSets(
        ls.half_space(normal=[-1.0], offset=-1.0), ls.half_space(normal=[1.0], offset=-2.0)
    )
    flat, dt, num = ls.Quadratic(hessian=jnp.zeros(1)), 1e-3, 100_000
    for alpha in (1.2, 1.5, 1.8, 2.0):
        kernel = ls.EulerMaruyama(
            ls.SGD(flat, ls.StableComponents(alpha=alpha), epsilon=1.0), dt=dt
        )
        right = ls.simulate_escape(kernel, sets, jnp.zeros(1), num=num, seed=1).label == 1
        start = 0.5 / (1.5 + boundary_shift(alpha) * dt ** (1 / alpha))
        weight = integrate.quad(lambda u, a=alpha: (1 - u * u) ** (a / 2 - 1), -1, start)[0]
        expected = 2 ** (1 - alpha) * gamma(alpha) / gamma(alpha / 2) ** 2 * weight
        yield Check(
            "ExitSets",
            f"share entering the right set first, from 0 in (-2, 1), no drift, a = {alpha}",
            right.mean(),
            expected,
            0.02,
            "Blumenthal, Getoor, Ray 1961",
            right.std() / np.sqrt(num),
        )
    kernel = ls.EulerMaruyama(
        ls.SGD(ls.Quadratic(hessian=jnp.ones(1)), ls.StableComponents(alpha=1.5), epsilon=0.03),
        dt=0.02,
    )
    right = ls.simulate_escape(kernel, sets, jnp.zeros(1), num=10_000, seed=1).label == 1
    yield Check(
        "ExitSets",
        "share of right exits of an OU well (-2, 1), eps = 0.03, a = 1.5",
        right.mean(),
        1 / (1 + 2**-1.5),
        0.03,
        "closed form, a0^-a / (a0^-a + b0^-a)",
        right.std() / np.sqrt(10_000),
    )


def mueller_brown(x):
    a, b, c = (
        jnp.array([-1.0, -1.0, -6.5, 0.7]),
        jnp.array([0.0, 0.0, 11.0, 0.6]),
        jnp.array([-10.0, -10.0, -6.5, 0.7]),
    )
    u, w = x[0] - jnp.array([1.0, 0.0, -0.5, -1.0]), x[1] - jnp.array([0.0, 0.5, 1.5, 1.0])
    return jnp.sum(
        jnp.array([-200.0, -100.0, -170.0, 15.0]) * jnp.exp(a * u * u + b * u * w + c * w * w)
    )


def flows() -> Iterator[Check]:
    slope = jax.jit(jax.vmap(jax.grad(mueller_brown)))
    x = np.random.default_rng(0).uniform([-1.5, -0.5], [1.2, 2.0], (1000, 2))

    def flow(_, y):
        return -np.asarray(slope(y.reshape(-1, 2)), float).ravel()

    ends = (
        integrate.solve_ivp(flow, (0, 1), x.ravel(), method="LSODA", lband=1, uband=1)
        .y[:, -1]
        .reshape(-1, 2)
    )
    expected = np.argmin(np.linalg.norm(ends[:, None] - MB_MINIMA[None], axis=2), axis=1)
    well = ls.from_function(mueller_brown, dim=2, minimum=jnp.array(MB_MINIMA[0]))
    found = jax.jit(jax.vmap(ls.Basin(well, minima=jnp.array(MB_MINIMA[1:])).label))(
        jnp.asarray(x, dtype=float)
    )
    yield Check(
        "Basin",
        "share of 1,000 points on the Mueller-Brown surface that are assigned to another minimum",
        share_wrong(np.asarray(found), expected),
        0.0,
        2e-3,
        "gradient flow by LSODA",
    )
    two = ls.DoubleWell(dim=2, stiffness=3.0)
    basin = ls.Basin(two, minima=two.minima)
    yield Check(
        "Basin",
        "escape rate of half a double well, stable components",
        rate(basin, landscape=two),
        RATE,
        1e-3,
        "closed form: the watershed is x_0 = 0, at distance 1",
    )
    # the well itself: 1 - r leaves on either side of -1 where barrier (u^2 - 1)^2 = height; x_1 at
    # stiffness x_1^2 / 2
    height, root = 0.5, np.sqrt(0.5)
    near, far, up = 1 - np.sqrt(1 - root), np.sqrt(1 + root) - 1, np.sqrt(2 * height / 3)
    component = ls.Component(two, height=height, minima=two.minima, saddles=two.saddles)
    expected = RATE * (near**-ALPHA + far**-ALPHA + 2 * up**-ALPHA)
    yield Check(
        "Component",
        "escape rate of one well of two",
        rate(component, landscape=two),
        expected,
        1e-4,
        "closed form, along the axes",
    )
    back = 1 + np.sqrt(1 - root), 1 + np.sqrt(1 + root)
    yield Check(
        "Sublevel",
        "escape rate of the sublevel set that contains both wells (a jump into the other well is "
        "not an exit)",
        rate(ls.Sublevel(two, height=height), landscape=two),
        expected - RATE * (back[0] ** -ALPHA - back[1] ** -ALPHA),
        1e-4,
        "closed form, along the axes",
    )


def inner() -> Iterator[Check]:
    ball = ls.Inner(ls.Ball(radius=1.0, center=jnp.zeros(2)), margin=0.2)
    yield Check(
        "Inner",
        "escape rate of a unit disc whose boundary is moved inwards by 0.2",
        rate(ball),
        4 * RATE * 0.8**-ALPHA,
        1e-5,
        "closed form for the radius 0.8",
    )
    well = ls.Quadratic(hessian=jnp.array([1.0, 9.0]))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(100_000, 2)) * [0.5, 0.17], dtype=float)
    exact = ls.Inner(
        ls.Ellipsoid(center=jnp.zeros(2), matrix=jnp.diag(jnp.array([1.0, 9.0]))), margin=0.1
    )
    probed = ls.Inner(ls.Sublevel(well, height=0.5), margin=0.1)
    found, expected = (np.asarray(jax.jit(jax.vmap(d.contains))(x)) for d in (probed, exact))
    yield Check(
        "Inner",
        "share of 100,000 points where `Inner` of a sublevel set, found by a search in many "
        "directions, differs from the exact inner set of the same ellipsoid",
        share_wrong(found, expected),
        0.0,
        1e-4,
        "boundary_distance",
    )
    circle = ls.Inner(ls.Predicate(lambda x: jnp.sum(x * x) < 1, dim=2), margin=0.2)
    away = jnp.stack([jnp.cos(0.05), jnp.sin(0.05)])
    yield Check(
        "Inner",
        "radius of `Inner` of a disc given as a `Predicate`, in a direction between two "
        "directions of the search",
        float(circle.ray_distance(jnp.zeros(2), away)),
        0.8,
        1e-3,
        "closed form; the search finds the exact set or a larger one",
    )


def checks() -> Iterator[Check]:
    for part in (shapes, algebra, inner, flows, sides):
        yield from part()
