"""Basins by gradient flow, components of sublevel sets, inner sets: against ODE solvers, roots and
closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls.domains import CASES, LEFT, WELLS, disc
from scipy import integrate, optimize
from test_domains import many

import levysde as ls

pytestmark = pytest.mark.slow

# basins by gradient flow


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


def test_basin_against_an_ode_solver():
    """The gradient flow of Mueller and Brown's surface by LSODA, to the nearest of its three
    minima."""
    minima = np.array([[-0.55822, 1.44173], [0.62350, 0.02804], [-0.05001, 0.46669]])
    slope = jax.jit(jax.vmap(jax.grad(mueller_brown)))
    x = np.random.default_rng(0).uniform([-1.5, -0.5], [1.2, 2.0], (60, 2))

    def flow(_, y):  # all starts in one system, whose Jacobian is made of blocks
        return -np.asarray(slope(y.reshape(-1, 2)), float).ravel()

    ends = (
        integrate.solve_ivp(flow, (0, 1), x.ravel(), method="LSODA", lband=1, uband=1)
        .y[:, -1]
        .reshape(-1, 2)
    )
    expected = np.argmin(np.linalg.norm(ends[:, None] - minima[None], axis=2), axis=1)
    well = ls.from_function(mueller_brown, dim=2, minimum=jnp.array(minima[0]))
    basin = ls.Basin(well, minima=jnp.array(minima[1:]))
    np.testing.assert_array_equal(many(basin.label, x), expected)
    assert (np.bincount(expected) > 5).all()
    # without the list the other two are one
    np.testing.assert_array_equal(many(ls.Basin(well).label, x), np.minimum(expected, 1))


def test_basin_labels_and_budget():
    """The marked minimum may be in the list; stiff, far, and unfinished flows."""
    basin, x = (
        CASES["Basin"],
        jnp.array([[-0.01, 2.0], [0.01, -2.0], [-1e6, 1.0], [1e6, 1.0], [0.0, 0.0]]),
    )
    # a start on the saddle goes nowhere
    np.testing.assert_array_equal(many(basin.label, x), [0, 2, 0, 2, 3])
    stiff = ls.Basin(ls.DoubleWell(dim=2, stiffness=1e3))
    np.testing.assert_array_equal(many(stiff.label, x[:4]), [0, 1, 0, 1])
    hasty = ls.Basin(WELLS, minima=WELLS.minima, max_steps=2)
    np.testing.assert_array_equal(many(hasty.label, jnp.array([[-0.01, 2.0], [-1.1, 0.1]])), [3, 0])


def chain(x):
    """Minima of value 0 at the integers; the saddle between k and k + 1 has a height of about `1 +
    (k + 1/2) / 2`."""
    return jnp.sin(jnp.pi * x[0]) ** 2 * (1 + 0.5 * x[0])


def test_component_among_several_minima():
    """Only the own well without lists; with them, wells that are joined below the level."""
    well = ls.from_function(chain, dim=1, minimum=jnp.zeros(1))
    slope = jax.jit(jax.grad(lambda x: chain(x[None])))
    ridge = [optimize.brentq(slope, k + 0.3, k + 0.7, xtol=1e-7) for k in (-1, 0, 1)]
    heights = [float(chain(jnp.array([x]))) for x in ridge]
    lists = {
        "minima": jnp.array([[-1.0], [0.0], [1.0], [2.0]]),
        "saddles": jnp.array(ridge)[:, None],
    }
    x = np.linspace(-1.4, 2.4, 401)[:, None]
    value = many(chain, x)
    for height, left in ((0.6, ridge[0]), (1.0, -9.0)):
        assert (height > heights[0]) == (left == -9.0)
        own = (value < height) & (x[:, 0] > ridge[0]) & (x[:, 0] < ridge[1])
        both = (value < height) & (x[:, 0] > left) & (x[:, 0] < ridge[1])
        np.testing.assert_array_equal(many(ls.Component(well, height=height).contains, x), own)
        component = ls.Component(well, height=height, **lists)
        np.testing.assert_array_equal(many(component.contains, x), both)
        assert many(ls.Sublevel(well, height=height).contains, x).sum() > both.sum()
    assert many(ls.Component(well, height=1.5, **lists).contains, x)[
        np.abs(x[:, 0] - 1) < 0.1
    ].all()


def test_component_ends_where_the_sublevel_set_does():
    """A ray through the other well: outside from the first crossing of the level on."""
    component, sublevel = CASES["Component"], ls.Sublevel(WELLS, height=0.5)
    right = jnp.array([1.0, 0.0])
    assert sublevel.contains(right)
    assert not component.contains(right)
    expected = 1 - np.sqrt(1 - np.sqrt(0.5))
    listed = ls.Component(WELLS, height=0.5, minima=WELLS.minima, saddles=WELLS.saddles)
    for domain in (component, listed):
        np.testing.assert_allclose(domain.ray_distance(LEFT, right), expected, rtol=1e-5)
    joined = ls.Component(WELLS, height=1.5, minima=WELLS.minima, saddles=WELLS.saddles)
    assert joined.contains(right)


# inner sets


def test_inner_sets_of_shapes():
    x = np.random.default_rng(0).normal(size=(500, 2))
    pairs = [
        (disc(0.2, radius=1.5), disc(0.2, radius=1.2)),
        (
            ls.Box(lower=jnp.array([-1.0, -jnp.inf]), upper=jnp.array([0.7, 2.0])),
            ls.Box(lower=jnp.array([-0.7, -jnp.inf]), upper=jnp.array([0.4, 1.7])),
        ),
        (
            ls.half_space(normal=[3.0, 4.0], offset=5.0),
            ls.half_space(normal=[3.0, 4.0], offset=3.5),
        ),
    ]
    pairs.append(tuple(ls.Intersection(*each) for each in zip(*pairs, strict=True)))
    for domain, smaller in pairs:
        inner = ls.Inner(domain, margin=0.3)
        np.testing.assert_array_equal(many(inner.contains, x), many(smaller.contains, x))
        assert inner.convex
        twice = ls.Inner(ls.Inner(domain, margin=0.1), margin=0.2)
        np.testing.assert_array_equal(many(twice.contains, x), many(smaller.contains, x))
        apart = many(lambda x, i=inner: ls.boundary_distance(i, x), x)
        np.testing.assert_allclose(
            apart, many(lambda x, s=smaller: ls.boundary_distance(s, x), x), atol=1e-6
        )


def test_inner_sets_by_probing():
    """The same ellipsoid as a sublevel set is as sharp; as a predicate it is a little too large,
    never too small."""
    exact = ls.Inner(
        ls.Ellipsoid(center=jnp.zeros(3), matrix=jnp.diag(jnp.array([1.0, 4.0, 9.0]))), margin=0.1
    )
    well = ls.Quadratic(hessian=jnp.array([1.0, 4.0, 9.0]))
    x = np.random.default_rng(0).normal(size=(4000, 3)) * np.array([0.5, 0.25, 0.17])
    inner = many(exact.contains, x)
    np.testing.assert_array_equal(
        many(ls.Inner(ls.Sublevel(well, height=0.5), margin=0.1).contains, x), inner
    )
    predicate = ls.Predicate(lambda x: jnp.sum(jnp.array([1.0, 4.0, 9.0]) * x * x) < 1, dim=3)
    probed = many(ls.Inner(predicate, margin=0.1, num_directions=256).contains, x)
    smaller = many(ls.Inner(exact.domain, margin=0.09).contains, x)
    assert not (inner & ~probed).any()
    assert not (probed & ~smaller).any()
    line = ls.Inner(ls.Complement(ls.Ball(radius=1.0, center=jnp.zeros(1))), margin=0.25)
    np.testing.assert_array_equal(
        many(line.contains, jnp.array([[1.2], [1.3], [-1.2], [-1.3], [0.0]])), [0, 1, 0, 1, 0]
    )
