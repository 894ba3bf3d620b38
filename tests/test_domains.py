"""Domains: one conformance suite for every class, and each one's own geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.protocols import Domain, is_lane_invariant


def ellipse(x):
    return x[0] ** 2 + 4 * x[1] ** 2 < 1


CASES = {
    "Ball": ls.Ball(radius=1.0, center=jnp.array([0.2, -0.1])),
    "Box": ls.Box(lower=jnp.array([-1.0, -0.5]), upper=jnp.array([0.7, jnp.inf])),
    "Sublevel": ls.Sublevel(ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]])), height=0.4),
    "Predicate": ls.Predicate(ellipse, dim=2),
}


def final_classes(interface):
    found = set()
    for child in interface.__subclasses__():
        below = final_classes(child)
        found |= below or {child}
    return {c for c in found if c.__module__.startswith("levysde.")}


def test_every_domain_is_in_the_suite():
    assert {c.__name__ for c in final_classes(Domain)} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_conformance(name):
    domain, rng = CASES[name], np.random.default_rng(0)
    points = jnp.asarray(rng.normal(size=(400, 2)), dtype=float)
    inside, label = jax.vmap(domain.contains)(points), jax.vmap(domain.label)(points)
    assert inside.dtype == bool
    assert 20 < inside.sum() < 380
    np.testing.assert_array_equal(label == 0, inside)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        far = jnp.array([bad, 0.0])
        assert not domain.contains(far)
        assert domain.label(far) > 0
    assert not domain.contains(jnp.array([0.0, jnp.nan]))
    # a ray is inside just before its distance and outside just after, in units of |v|
    origin = jnp.zeros(2)
    directions = jnp.asarray(rng.normal(size=(200, 2)) * 10.0 ** rng.uniform(-3, 3, (200, 1)), dtype=float)
    distance = jax.vmap(lambda v: domain.ray_distance(origin, v))(directions)
    assert (distance > 0).all()
    reach = np.where(np.isfinite(distance), distance, 1e6)[:, None]
    assert jax.vmap(domain.contains)(directions * reach * (1 - 1e-4)).all()
    hits = np.isfinite(distance)
    assert not jax.vmap(domain.contains)(directions * reach * (1 + 1e-4))[hits].any()
    np.testing.assert_allclose(
        jax.vmap(lambda v: domain.ray_distance(origin, 4 * v))(directions), distance / 4, rtol=1e-4
    )
    assert domain.ray_distance(origin, jnp.zeros(2)) == jnp.inf
    # the same under vmap with the lane axis last, as the engine calls it
    lanes = jax.vmap(domain.contains, in_axes=-1)(points.T)
    np.testing.assert_array_equal(lanes, inside)
    assert isinstance(domain.convex, bool)
    assert is_lane_invariant(domain.contains, origin)
    assert domain.dim == 2


def test_box_labels_and_open_sides():
    box = CASES["Box"]
    assert box.ray_distance(jnp.zeros(2), jnp.array([0.0, 1.0])) == jnp.inf
    assert box.label(jnp.array([-2.0, 0.0])) == 1
    assert box.label(jnp.array([0.9, 0.0])) == 2
    assert box.label(jnp.array([0.0, -0.7])) == 3
    assert box.label(jnp.array([0.9, -5.0])) == 3  # furthest outside


def test_quadratic_sublevel_is_the_ellipsoid():
    hessian = np.array([[2.0, 0.5], [0.5, 1.0]])
    v = np.random.default_rng(1).normal(size=(50, 2))
    expected = np.sqrt(2 * 0.4 / np.einsum("ni,ij,nj->n", v, hessian, v))
    found = jax.vmap(lambda v: CASES["Sublevel"].ray_distance(jnp.zeros(2), v))(jnp.asarray(v, dtype=float))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_first_exit_of_a_ray_that_comes_back():
    domain = ls.Predicate(lambda x: (jnp.abs(x[0]) < 1) | (jnp.abs(x[0]) > 1.5), dim=1)
    np.testing.assert_allclose(domain.ray_distance(jnp.zeros(1), jnp.ones(1)), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.Ball(radius=0.0, center=jnp.zeros(2)), "radius must be positive"),
        (lambda: ls.Ball(radius=jnp.inf, center=jnp.zeros(2)), "radius must be positive and finite"),
        (lambda: ls.Ball(radius="1", center=jnp.zeros(2)), "radius must be a number"),
        (lambda: ls.Ball(radius=[1.0, 2.0], center=jnp.zeros(2)), "radius must be one number"),
        (lambda: ls.Ball(radius=1.0, center=0.0), "center must be a vector"),
        (lambda: ls.Ball(radius=1.0, center=[0.0, jnp.nan]), "center must be finite"),
        (lambda: ls.Box(lower=jnp.ones(2), upper=-jnp.ones(2)), r"lower\[0\] = 1.0 and upper\[0\] = -1.0"),
        (lambda: ls.Box(lower=[0.0, jnp.nan], upper=[1.0, 1.0]), r"lower\[1\] = nan"),
        (lambda: ls.Box(lower=jnp.zeros(2), upper=jnp.ones(3)), "vectors of one length"),
        (lambda: ls.Sublevel("well", height=1.0), "landscape must be a Landscape"),
        (lambda: ls.Sublevel(ls.Quadratic(hessian=jnp.eye(2)), height=-1.0), "height must be positive"),
        (lambda: ls.Predicate(3, dim=2), "inside must be a function"),
        (lambda: ls.Predicate(lambda x: x, dim=2), "one truth value"),
        (lambda: ls.Predicate(ellipse, dim=0), "dim must be at least 1"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_height_below_rounding_is_refused():
    well = ls.from_function(lambda x: 1e6 + jnp.sum(x * x), dim=1, minimum=jnp.zeros(1))
    with pytest.raises(ValueError, match="lost in rounding"):
        ls.Sublevel(well, height=1e-3)
