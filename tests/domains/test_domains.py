"""Domains: one conformance suite for every class, and each one's own geometry."""

import importlib
import re
from math import gamma, pi, sin
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls import Call
from calls.domains import CASES, SLACK, STARTS, WELLS, disc, ellipse
from scipy import integrate, optimize
from statistical import assert_mean
from test_docstrings import CALLS, why_incomplete

import levysde as ls
from levysde.domains import entry_distance
from levysde.interfaces import is_lane_invariant
from levysde.protocols import Domain, Landscape
from levysde.theory import boundary_shift


def final_classes(interface):
    found = set()
    for child in interface.__subclasses__():
        below = final_classes(child)
        found |= below or {child}
    return {c for c in found if c.__module__.startswith(("levysde.domains.", "levysde.kernels."))}


def many(fn, *arrays):
    """`fn` over the rows of arrays, compiled once for methods of equal domains."""
    return np.asarray(_many(fn, *(jnp.asarray(a, dtype=float) for a in arrays)))


@eqx.filter_jit
def _many(fn, *arrays):
    return jax.vmap(fn)(*arrays)


def test_every_domain_is_in_the_suite():
    assert {c.__name__ for c in final_classes(Domain)} == set(CASES)


@pytest.mark.slow_cases("Basin", "Ball", "Component", "Inner")
@pytest.mark.parametrize("name", CASES)
def test_conformance(name):
    conforms(CASES[name], STARTS.get(name, jnp.zeros(2)), SLACK.get(name, 1e-4))


def conforms(domain, start, slack):
    rng = np.random.default_rng(0)
    points = start[None] + jnp.asarray(rng.normal(size=(400, 2)), dtype=float)
    bad = jnp.array([[jnp.nan, 0.0], [jnp.inf, 0.0], [-jnp.inf, 0.0], [0.0, jnp.nan]])
    # a ray is inside just before its distance and outside just after, in units of |v|
    directions = jnp.asarray(
        rng.normal(size=(60, 2)) * 10.0 ** rng.uniform(-3, 3, (60, 1)), dtype=float
    )
    both = jnp.concatenate([directions, 4 * directions, jnp.zeros((1, 2))])
    distance, longer = np.split(many(lambda v: domain.ray_distance(start, v), both), [60])
    assert (distance > 0).all()
    far = 1e6 / np.linalg.norm(directions, axis=1)
    hits = distance < far
    reach = np.where(hits, distance, far)[:, None]
    assert hits.sum() > 10
    np.testing.assert_allclose(longer[:-1][hits], distance[hits] / 4, rtol=slack)
    assert longer[-1] == jnp.inf
    every = [
        points,
        bad,
        *(start[None] + directions * reach * (1 + off) for off in (-slack, slack)),
    ]
    found = _many(lambda x: (domain.contains(x), domain.label(x)), jnp.concatenate(every))
    edges = np.cumsum([len(part) for part in every])[:-1]
    (inside, inside_bad, before, after), (label, label_bad, *_) = (
        np.split(part, edges) for part in found
    )
    assert inside.dtype == bool
    assert 20 < inside.sum() < 380
    np.testing.assert_array_equal(label == 0, inside)
    assert not inside_bad.any()
    assert (label_bad > 0).all()
    assert before.all()
    assert not after[hits].any()
    # the same under vmap with the lane axis last, as the engine calls it, in any number of lanes
    lanes = jax.jit(jax.vmap(domain.label, in_axes=-1))(points[:48].T)
    np.testing.assert_array_equal(lanes, label[:48])
    assert isinstance(domain.convex, bool)
    edges_are_all(domain, start, directions[:20], distance[:20])
    assert is_lane_invariant(domain.contains, start)
    assert domain.dim == 2


def edges_are_all(domain, start, directions, distance):
    """Where a domain knows the edges of a ray, it changes sides at none but these, and the first is
    its distance."""
    if domain.ray_edges(start, directions[0]) is None:
        return
    edges = many(lambda v: domain.ray_edges(start, v), directions)
    edges = np.sort(np.where(edges > 0, edges, np.inf), 1)
    for v, own, first in zip(np.asarray(directions), edges, distance, strict=True):
        assert np.isinf(first) or np.abs(own / first - 1).min() < 1e-4
        r = np.linspace(0.01, 6, 400) / np.linalg.norm(v)
        inside = many(domain.contains, np.asarray(start) + r[:, None] * v)
        for k in np.flatnonzero(inside[1:] != inside[:-1]):
            assert ((own >= r[k] * 0.9999) & (own <= r[k + 1] * 1.0001)).any()


def test_the_slab_of_the_contributing_page(tmp_path, monkeypatch):
    """The file printed there, as it is: it conforms, its docstring is complete, and its check
    holds."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (source,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if "class Slab" in block
    )
    (tmp_path / "contributed_slab.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    slab = importlib.import_module("contributed_slab").Slab
    conforms(slab(half_width=0.8), jnp.zeros(2), 1e-4)
    monkeypatch.setitem(CALLS, slab, Call(slab, lambda: {"half_width": 1.0, "axis": 0, "dim": 2}))
    assert why_incomplete("levysde.domains.Slab", slab) == []
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), ls.StableIsotropic(alpha=1.5), epsilon=0.1)
    expected = 2 * 0.1**1.5 * gamma(2.5) * sin(0.75 * pi) / pi / 1.5 * 0.8**-1.5
    assert ls.escape_law(dynamics, slab(half_width=0.8), check=False).rate == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_leaves(name):
    """Other numbers compile nothing new."""
    traces = []

    @eqx.filter_jit
    def look(domain, x):
        traces.append(1)
        return domain.contains(x)

    domain = CASES[name]
    look(domain, jnp.zeros(2))
    look(
        jax.tree.map(lambda leaf: leaf * 1.01 if eqx.is_inexact_array(leaf) else leaf, domain),
        jnp.zeros(2),
    )
    assert len(traces) == 1


def test_box_labels_and_open_sides():
    box = CASES["Box"]
    assert box.ray_distance(jnp.zeros(2), jnp.array([0.0, 1.0])) == jnp.inf
    assert box.label(jnp.array([-2.0, 0.0])) == 1
    assert box.label(jnp.array([0.9, 0.0])) == 2
    assert box.label(jnp.array([0.0, -0.7])) == 3
    assert box.label(jnp.array([0.9, -5.0])) == 3  # furthest outside


@pytest.mark.slow
def test_quadratic_sublevel_is_the_ellipsoid():
    hessian = np.array([[2.0, 0.5], [0.5, 1.0]])
    v = np.random.default_rng(1).normal(size=(50, 2))
    expected = np.sqrt(2 * 0.4 / np.einsum("ni,ij,nj->n", v, hessian, v))
    found = jax.vmap(lambda v: CASES["Sublevel"].ray_distance(jnp.zeros(2), v))(
        jnp.asarray(v, dtype=float)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_first_exit_of_a_ray_that_comes_back():
    domain = ls.Predicate(lambda x: (jnp.abs(x[0]) < 1) | (jnp.abs(x[0]) > 1.5), dim=1)
    np.testing.assert_allclose(domain.ray_distance(jnp.zeros(1), jnp.ones(1)), 1, rtol=1e-5)


# convex shapes


def shapes(dim, rng):
    """One of each convex shape about the origin, with `inside` written another way, in float64."""
    root = rng.normal(size=(dim, dim))
    matrix, center = root @ root.T + 0.3 * np.eye(dim), 0.2 * rng.normal(size=dim) / dim
    normals, offsets = rng.normal(size=(2 * dim + 1, dim)), rng.uniform(0.5, 1.5, 2 * dim + 1)
    size = np.linalg.norm(normals, axis=1)
    lower, upper = -rng.uniform(0.5, 1.5, dim), rng.uniform(0.5, 1.5, dim)
    ball = ls.Ball(radius=0.9, center=jnp.array(center))
    yield ball, lambda x: 0.9**2 - np.sum((x - center) ** 2)
    yield (
        ls.Box(lower=jnp.array(lower), upper=jnp.array(upper)),
        lambda x: min((x - lower).min(), (upper - x).min()),
    )
    ellipsoid = ls.Ellipsoid(center=jnp.array(center), matrix=jnp.array(matrix))
    yield ellipsoid, lambda x: 1 - (x - center) @ matrix @ (x - center)
    polytope = ls.HalfSpaces(normals=jnp.array(normals), offsets=jnp.array(offsets))
    yield polytope, lambda x: ((offsets - normals @ x) / size).min()


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_chords_end_on_the_boundary(dim):
    """Both ends of every chord are roots of the shape's formula, from starts inside and outside;
    lines that miss, miss."""
    rng, missed = np.random.default_rng(dim), 0
    for shape, gap in shapes(dim, rng):
        x, v = (
            1.2 / dim * rng.normal(size=(60, dim)),
            rng.normal(size=(60, dim)) * 10.0 ** rng.uniform(-30, 30, (60, 1)),
        )
        low, high = many(lambda x, v, s=shape: jnp.stack(s.chord(x, v)), x, v).T
        entry, leave = (
            many(lambda x, v, s=shape: entry_distance(s, x, v), x, v),
            many(shape.ray_distance, x, v),
        )
        inside, hit = many(shape.contains, x), np.isfinite(low)
        assert 5 < inside.sum() < 60
        for i in range(60):
            assert inside[i] == (gap(x[i]) > 0) == (low[i] < 0 < high[i])
            if hit[i]:
                ends = gap(x[i] + low[i] * v[i]), gap(x[i] + high[i] * v[i])
                np.testing.assert_allclose(ends, 0, atol=1e-9)
                assert gap(x[i] + (low[i] + high[i]) / 2 * v[i]) > 0
            else:
                line = np.linspace(-10, 10, 301)[:, None] * v[i] / np.linalg.norm(v[i])
                assert max(gap(x[i] + step) for step in line) <= 0
        missed += int(np.sum(~hit))
        np.testing.assert_allclose(leave, np.where(inside, high, 0), rtol=1e-12)
        np.testing.assert_allclose(
            entry, np.where(inside, 0, np.where(low > 0, low, np.inf)), rtol=1e-12
        )
    assert missed > 5 or dim == 1


@pytest.mark.slow_cases("2")
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [1, 2])
def test_distance_is_that_of_the_nearest_way_out(dim):
    """Over all directions, on a grid of angles that resolves the nearest to 1e-5."""
    angles = 2 * pi * np.arange(2000) / 2000
    around = (
        np.stack([np.cos(angles), np.sin(angles)], 1) if dim == 2 else np.array([[1.0], [-1.0]])
    )
    rng = np.random.default_rng(dim)
    for shape, _ in shapes(dim, rng):
        x = rng.normal(size=(20, dim)) * 0.5

        def nearest(x, shape=shape):
            return jnp.min(jax.vmap(lambda u: shape.ray_distance(x, u))(jnp.array(around)))

        assert (many(shape.margin, x) > 0).sum() > 4
        np.testing.assert_allclose(many(shape.margin, x), many(nearest, x), rtol=2e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_distance_in_an_ellipsoid_of_five_dimensions():
    """Against a minimisation over its surface, `center + root u`, u on the sphere."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    shape = ls.Ellipsoid(center=jnp.ones(5), matrix=jnp.array(np.linalg.inv(root @ root.T)))
    for _ in range(4):
        u = rng.normal(size=5)
        x = root @ u / np.linalg.norm(u) * rng.uniform(0.2, 0.95)

        def away(u, x=x):
            return np.sum((root @ u / np.linalg.norm(u) - x) ** 2)

        found = min(
            optimize.minimize(away, start, tol=1e-12).fun for start in rng.normal(size=(6, 5))
        )
        np.testing.assert_allclose(shape.margin(jnp.array(1 + x)), np.sqrt(found), rtol=1e-6)


@pytest.mark.usefixtures("dtype")
def test_distance_in_an_ellipsoid_from_its_symmetry_planes():
    """Where the nearest point lies beside the long axis: `b sqrt(1 - x^2 / (a^2 - b^2))` for x on
    it, near the center."""
    shape = ls.Ellipsoid(center=jnp.zeros(3), radii=jnp.array([3.0, 1.0, 1.0]))
    x = np.array([0.0, 0.5, 1.5, 2.6, 2.9])
    points = np.stack([x, 0 * x, 0 * x], 1)
    expected = np.where(x < 8 / 3, np.sqrt(np.maximum(1 - x**2 / 8, 0)), 3 - x)
    np.testing.assert_allclose(many(shape.margin, points), expected, rtol=2e-6)
    sphere = ls.Ellipsoid(center=jnp.zeros(3), radii=2 * jnp.ones(3))
    np.testing.assert_allclose(
        many(sphere.margin, points), np.maximum(2 - x, 0), rtol=2e-6, atol=1e-6
    )


def test_ellipsoid_from_matrix_or_axes():
    angle = 0.6
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    by_axes = ls.Ellipsoid(center=jnp.ones(2), radii=jnp.array([0.5, 2.0]), axes=jnp.array(axes))
    matrix = axes @ np.diag([4.0, 0.25]) @ axes.T
    by_matrix = ls.Ellipsoid(center=jnp.ones(2), matrix=jnp.array(matrix))
    x = 1 + np.random.default_rng(0).normal(size=(300, 2))
    expected = np.einsum("ni,ij,nj->n", x - 1, matrix, x - 1) < 1
    np.testing.assert_array_equal(many(by_axes.contains, x), expected)
    np.testing.assert_array_equal(many(by_matrix.contains, x), expected)


@pytest.mark.parametrize("driver", [ls.StableComponents, ls.StableIsotropic])
def test_rate_of_a_half_space(driver):
    """Only the projection on the normal matters: `eps^a (C_a / a) b^-a`, times `sum |n_i|^a` for
    component noise."""
    alpha, normal, offset = 1.5, np.array([0.6, -0.8]), 0.7
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), driver(alpha=alpha), epsilon=0.1)
    basin = ls.half_space(normal=jnp.array(3 * normal), offset=3 * offset)
    constant = gamma(1 + alpha) * sin(pi * alpha / 2) / pi
    factor = np.sum(np.abs(normal) ** alpha) if driver is ls.StableComponents else 1.0
    rate = ls.escape_law(dynamics, basin, check=False).rate
    assert rate == pytest.approx((0.1 / offset) ** alpha * constant / alpha * factor, rel=1e-4)


def test_half_spaces_as_a_box():
    box = ls.Box(lower=jnp.array([-1.0, -0.5]), upper=jnp.array([0.7, 2.0]))
    planes = ls.HalfSpaces(
        normals=jnp.array([[-2.0, 0.0], [0.5, 0.0], [0.0, -1.0], [0.0, 3.0]]),
        offsets=jnp.array([2.0, 0.35, 0.5, 6.0]),
    )
    x = 2 * np.random.default_rng(0).normal(size=(500, 2))
    np.testing.assert_array_equal(many(planes.label, x), many(box.label, x))
    np.testing.assert_allclose(planes.inradius, 0.85, rtol=1e-6)
    triangle = ls.HalfSpaces(
        normals=jnp.array([[-1.0, 0.0], [0.0, -1.0], [4.0, 3.0]]),
        offsets=jnp.array([0.0, 0.0, 12.0]),
    )
    np.testing.assert_allclose(triangle.inradius, 1, rtol=1e-6)  # sides 3, 4, 5


def test_shapes_are_made_inside_jit():
    @jax.jit
    def inside(size, x):
        ellipsoid = ls.Ellipsoid(center=jnp.zeros(2), matrix=jnp.eye(2) / size**2)
        planes = ls.HalfSpaces(normals=jnp.eye(2) * size, offsets=size * jnp.ones(2))
        inner = ls.Inner(ls.Ball(radius=size, center=jnp.zeros(2)), margin=0.5)
        return ellipsoid.contains(x), planes.contains(x), inner.contains(x)

    assert [bool(each) for each in inside(2.0, jnp.array([0.9, 0.9]))] == [True, True, True]
    assert [bool(each) for each in inside(1.0, jnp.array([0.9, 0.9]))] == [False, True, False]


# domains made of domains


def test_first_listed_wins():
    one, two, three = disc(radius=2.0), ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2)), disc(0.5)
    x = jnp.array([[0.0, 0.0], [1.2, 0.0], [-0.9, 0.0], [3.0, 0.0], [0.0, -1.5]])
    np.testing.assert_array_equal(many(ls.Intersection(one, two, three).label, x), [0, 2, 3, 1, 2])
    x = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.7, 0.0], [1.0, 0.0], [jnp.inf, 0.0], [jnp.nan, 0.0]])
    sets = ls.ExitSets(disc(1.5), disc(1.0, radius=0.6), names=("big", "small"))
    np.testing.assert_array_equal(many(sets.label, x), [0, 0, 1, 1, 3, 3])
    np.testing.assert_array_equal(many(ls.ExitSets(*sets.sets[::-1]).label, x), [0, 0, 1, 1, 3, 3])
    assert sets.label(jnp.array([0.45, 0.0])) == 2
    assert sets.names[1] == "small"
    assert ls.Intersection(one, two).convex
    assert not ls.Intersection(one, sets).convex


@pytest.mark.slow
def test_first_entry():
    """Into shapes, their intersection and their complement by formula; into others by search, to
    the same numbers."""
    lens = ls.Intersection(disc(2.0), disc(2.5))
    searched = ls.Predicate(lambda x: lens.contains(x), dim=2)
    v = np.random.default_rng(0).normal(size=(200, 2)) * 0.01 + np.array([0.02, 0.0])
    found, sought = (
        many(lambda v, d=d: entry_distance(d, jnp.zeros(2), v), v) for d in (lens, searched)
    )
    assert 30 < np.isfinite(found).sum() < 170
    np.testing.assert_allclose(sought, found, rtol=1e-4)
    for domain in (lens, searched, ls.Predicate(lambda x: x[0] < 9, dim=2)):
        assert entry_distance(domain, jnp.array([2.3, 0.0]), jnp.ones(2)) == 0
    back = ls.Complement(ls.Complement(disc()))
    np.testing.assert_allclose(
        back.ray_distance(jnp.zeros(2), jnp.array([0.0, 4.0])), 0.25, rtol=1e-6
    )


def test_rate_between_wells():
    """`q_ij = eps^a (C_a / a) | |s_(j-1) - m_i|^-a - |s_j - m_i|^-a |`, the sum over two other
    wells; their sides apart."""
    alpha, epsilon = 1.5, 0.05
    wells = ls.ExitSets(ls.Box(lower=[0.8], upper=[2.0]), ls.Box(lower=[-7.0], upper=[-3.0]))
    dynamics = ls.SGD(
        ls.Quadratic(hessian=jnp.ones(1)), ls.StableComponents(alpha=alpha), epsilon=epsilon
    )
    law = ls.escape_law(dynamics, wells, follow=False, check=False)  # jumps into the wells alone
    constant = gamma(1 + alpha) * sin(pi * alpha / 2) / pi
    sides = (
        epsilon**alpha
        * constant
        / alpha
        * np.array([0.8**-alpha - 2.0**-alpha, 3.0**-alpha - 7.0**-alpha])
    )
    assert law.rate == pytest.approx(sides.sum(), rel=1e-4)
    np.testing.assert_allclose(law.ray_share, sides / sides.sum(), rtol=1e-4)


def right_exit(alpha, x):
    """Which side a symmetric stable process leaves (-1, 1) on, from x: Blumenthal, Getoor, Ray
    (1961)."""
    weight = integrate.quad(lambda u: (1 - u * u) ** (alpha / 2 - 1), -1, x)[0]
    return 2 ** (1 - alpha) * gamma(alpha) / gamma(alpha / 2) ** 2 * weight


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_which_side_is_entered_first(alpha):
    """Driftless noise in (-2, 1): the share of labels, the boundary moved out by the skeleton's
    shift."""
    flat, dt = ls.Quadratic(hessian=jnp.zeros(1)), 4e-3
    sets = ls.ExitSets(
        ls.half_space(normal=[-1.0], offset=-1.0), ls.half_space(normal=[1.0], offset=-2.0)
    )
    kernel = ls.EulerMaruyama(ls.SGD(flat, ls.StableComponents(alpha=alpha), epsilon=1.0), dt=dt)
    result = ls.simulate_escape(kernel, sets, jnp.zeros(1), num=20_000, seed=3)
    assert set(result.label) == {1, 2}
    np.testing.assert_array_equal(result.label == 1, result.first_outside[:, 0] > 0)
    half = 1.5 + boundary_shift(alpha) * dt ** (1 / alpha)
    assert_mean(result.label == 1, right_exit(alpha, 0.5 / half), relative_error=0.03)


class Marked(Landscape):
    """A double well whose marked point is put anywhere."""

    minimum: jax.Array
    dim: int = eqx.field(static=True)

    def __init__(self, x):
        self.minimum, self.dim = jnp.array([x, 0.0]), 2

    def value(self, x):
        return WELLS.value(x)

    def gradient(self, x):
        return WELLS.gradient(x)

    def hessian(self, x):
        return WELLS.hessian(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.Ball(radius=0.0, center=jnp.zeros(2)), "radius must be positive"),
        (
            lambda: ls.Ball(radius=jnp.inf, center=jnp.zeros(2)),
            "radius must be positive and finite",
        ),
        (lambda: ls.Ball(radius="1", center=jnp.zeros(2)), "radius must be a number"),
        (lambda: ls.Ball(radius=[1.0, 2.0], center=jnp.zeros(2)), "radius must be one number"),
        (lambda: ls.Ball(radius=1.0, center=0.0), "center must be a vector"),
        (lambda: ls.Ball(radius=1.0, center=[0.0, jnp.nan]), "center must be finite"),
        (
            lambda: ls.Box(lower=jnp.ones(2), upper=-jnp.ones(2)),
            r"lower\[0\] = 1.0 and upper\[0\] "
            r"= -1.0",
        ),
        (lambda: ls.Box(lower=[0.0, jnp.nan], upper=[1.0, 1.0]), r"lower\[1\] = nan"),
        (lambda: ls.Box(lower=jnp.zeros(2), upper=jnp.ones(3)), "vectors of one length"),
        (lambda: ls.Sublevel("well", height=1.0), "landscape must be a Landscape"),
        (
            lambda: ls.Sublevel(ls.Quadratic(hessian=jnp.eye(2)), height=-1.0),
            "height must be positive",
        ),
        (lambda: ls.Predicate(3, dim=2), "inside must be a function"),
        (lambda: ls.Predicate(lambda x: x, dim=2), "one truth value"),
        (lambda: ls.Predicate(ellipse, dim=0), "dim must be at least 1"),
        (lambda: ls.Ellipsoid(center=jnp.zeros(2)), "exactly one of matrix and radii"),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), matrix=jnp.eye(2), radii=jnp.ones(2)),
            "exactly one of",
        ),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), matrix=jnp.eye(2), axes=jnp.eye(2)),
            "axes belong to radii",
        ),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), matrix=jnp.eye(3)),
            r"matrix must have shape "
            r"\(2, 2\)",
        ),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), matrix=[[1.0, 1.0], [0.0, 1.0]]),
            "must be symmetric",
        ),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), matrix=jnp.diag(jnp.array([1.0, 0.0]))),
            "positive definite",
        ),
        (lambda: ls.Ellipsoid(center=jnp.zeros(2), radii=[1.0, -1.0]), "radii must be positive"),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), radii=jnp.ones(3)),
            r"radii must have shape "
            r"\(2,\)",
        ),
        (
            lambda: ls.Ellipsoid(center=jnp.zeros(2), radii=jnp.ones(2), axes=jnp.ones((2, 2))),
            "orthonormal columns",
        ),
        (
            lambda: ls.Ellipsoid(center="here", radii=jnp.ones(2)),
            "center must be a number or an array",
        ),
        (lambda: ls.HalfSpaces(normals=jnp.ones(2), offsets=jnp.ones(1)), r"shape \(n, d\)"),
        (
            lambda: ls.HalfSpaces(normals=jnp.eye(2), offsets=jnp.ones(3)),
            r"offsets \(n,\), not "
            r"\(2, 2\) and \(3,\)",
        ),
        (
            lambda: ls.HalfSpaces(normals=jnp.zeros((1, 2)), offsets=jnp.ones(1)),
            r"normals\[0\] = \[0. 0.\]",
        ),
        (
            lambda: ls.HalfSpaces(normals=jnp.eye(2), offsets=[1.0, jnp.inf]),
            "offsets must be finite",
        ),
        (
            lambda: ls.HalfSpaces(normals=[[1.0], [-1.0]], offsets=[-1.0, -1.0]),
            "no point in common",
        ),
        (lambda: ls.HalfSpaces(normals=[[1.0], [-1.0]], offsets=[1.0, -1.0]), "no point in common"),
        (lambda: ls.half_space(normal=1.0, offset=1.0), "normal must be a vector"),
        (lambda: ls.half_space(normal=[1.0], offset=[1.0]), r"offset must be one number"),
        (lambda: ls.Basin(disc()), "landscape must be a Landscape"),
        (
            lambda: ls.Basin(WELLS, minima=jnp.zeros((1, 2))),
            r"minima\[0\], x = \[0. 0.\], is a saddle.*no basin",
        ),
        (lambda: ls.Basin(Marked(0.0)), "the landscape's minimum, x = .*is a saddle or a maximum"),
        (lambda: ls.Basin(Marked(0.5)), "no stationary point"),
        (lambda: ls.Basin(ls.Quadratic(hessian=jnp.array([1.0, 0.0]))), "is not isolated"),
        (lambda: ls.Basin(WELLS, minima=jnp.zeros(2)), r"minima must have shape \(n, 2\)"),
        (lambda: ls.Basin(WELLS, max_steps=0), "max_steps must be from 1"),
        (
            lambda: jax.jit(lambda w: ls.Basin(ls.DoubleWell(distance=w)).contains(jnp.zeros(1)))(
                1.0
            ),
            "traced by JAX",
        ),
        (lambda: ls.Component(WELLS, height=-1.0), "height must be positive"),
        (lambda: ls.Component(Marked(0.0), height=1.0), "is a saddle or a maximum"),
        (lambda: ls.Component(WELLS, height=1.0, minima=WELLS.minima), "minima without saddles"),
        (lambda: ls.Component(WELLS, height=1.0, saddles=WELLS.saddles), "saddles without minima"),
        (
            lambda: ls.Component(WELLS, height=2.0, minima=WELLS.minima, saddles=WELLS.minima),
            "is no saddle",
        ),
        (
            lambda: ls.Component(WELLS, height=2.0, minima=WELLS.minima[:1], saddles=WELLS.saddles),
            "none of the minima",
        ),
        (
            lambda: ls.Predicate(lambda x: x @ jnp.ones(3) < 1, dim=2),
            r"inside fails for arguments of shape \(2,\)",
        ),
        (lambda: ls.Predicate(lambda x: x < 1, dim=2), "must return one truth value"),
        (lambda: ls.Intersection(), "at least one domain"),
        (lambda: ls.Intersection(disc(), 3), "each of domains must be a Domain, not 3"),
        (
            lambda: ls.Intersection(disc(), ls.Box(lower=[0.0], upper=[1.0])),
            r"one dimension, not of \[2, 1\]",
        ),
        (lambda: ls.Complement("disc"), "domain must be a Domain, not 'disc'"),
        (lambda: ls.ExitSets(), "at least one domain"),
        (lambda: ls.ExitSets(disc(), None), "each of sets must be a Domain, not None"),
        (lambda: ls.ExitSets(disc(), disc(3.0), names=("one",)), "2 different strings"),
        (lambda: ls.ExitSets(disc(), disc(3.0), names=("one", "one")), "2 different strings"),
        (lambda: ls.ExitSets(disc(), names="one"), "names must be a tuple, each of its items"),
        (lambda: ls.ExitSets(disc(), names=3), "names must be a tuple, each of its items"),
        (lambda: ls.Inner(3, margin=0.1), "domain must be a Domain"),
        (lambda: ls.Inner(disc(), margin=0.0), "margin must be positive"),
        (
            lambda: ls.Inner(disc(), margin=0.1, num_directions=1),
            "num_directions must be at least 2",
        ),
        (lambda: ls.Inner(disc(), margin=1.0), "nothing is left: margin = 1.0.* has radius 1"),
        (
            lambda: ls.Inner(ls.Inner(disc(), margin=0.5), margin=0.5),
            "nothing is left: .* has radius 0.5",
        ),
        (
            lambda: ls.Inner(ls.Intersection(disc(), disc(radius=0.3)), margin=0.4),
            "nothing is left",
        ),
        (
            lambda: ls.Inner(ls.Ellipsoid(center=jnp.zeros(2), radii=[0.2, 3.0]), margin=0.3),
            "nothing is left",
        ),
        (
            lambda: ls.Inner(ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2)), margin=1.5),
            "nothing is left",
        ),
        (lambda: ls.Inner(ls.Sublevel(WELLS, height=0.1), margin=0.5), "reaches past the minimum"),
        (
            lambda: ls.boundary_distance(CASES["Predicate"], jnp.zeros(2)),
            "Predicate has no formula",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_height_below_rounding_is_refused():
    well = ls.from_function(lambda x: 1e6 + jnp.sum(x * x), dim=1, minimum=jnp.zeros(1))
    with pytest.raises(ValueError, match="lost in rounding"):
        ls.Sublevel(well, height=1e-3)
