"""Committors against first-passage quadrature, harmonic functions, a spectral method and simulated
paths, their order of convergence, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

import levysde as ls
from levysde.theory import Committor, committor, first_passage

BALL = ls.Ball(radius=0.5, center=[0.0, 0.0])
BEYOND = ls.Complement(ls.Ball(radius=2.0, center=[0.0, 0.0]))


def still(x):
    return 0 * x


def left_of(x, dim=2):
    return ls.half_space(normal=jnp.eye(dim)[0], offset=x)


def right_of(x, dim=2):
    return ls.half_space(normal=-jnp.eye(dim)[0], offset=-x)


def plane(found):
    return np.stack(np.meshgrid(*found.axes, indexing="ij"), -1)


# on a line


@pytest.mark.parametrize("noise", [0.5, 0.02])
def test_a_line_against_the_first_passage(noise):
    """Also where the barrier is 10 times the noise, and for a diffusion of the place."""

    def drift(x):
        return x - x**3

    def diffusion(x):
        return noise * (1 + 0.5 * jnp.sin(2 * x))

    found = committor(
        drift, diffusion, source=left_of(-1.0, 1), destination=right_of(0.75, 1), lower=-2, upper=2
    )

    def exact(start):
        return first_passage(
            lambda x: x - x**3,
            lambda x: noise * (1 + 0.5 * np.sin(2 * x)),
            start=start,
            lower=-1.0,
            upper=0.75,
        ).upper_probability

    assert found.error < 2e-3
    off = []
    for i in range(50, 96, 5):
        at = found.axes[0][i]
        assert found.values[i] == pytest.approx(exact(at), rel=1e-8)
        between = at + 0.4 * (found.axes[0][i + 1] - at)
        off.append(abs(found.value([between]) - exact(between)))
    assert 0.1 * found.error < max(off) < 1.1 * found.error
    outside = found.values[found.axes[0] <= -1], found.values[found.axes[0] >= 0.75]
    assert (outside[0] == 0).all()
    assert (outside[1] == 1).all()


def test_sets_of_several_parts_and_walls():
    """From the left: source, destination, source, a wall. Without a drift q is linear between
    different sets, and constant between equal ones and before a wall."""
    low, middle, high = (ls.Box(lower=[x], upper=[x + 0.5]) for x in (0.0, 1.5, 3.0))
    source = ls.Complement(ls.Intersection(ls.Complement(low), ls.Complement(high)))
    found = committor(still, 1.0, source=source, destination=middle, lower=-1.0, upper=4.5)
    expected = np.interp(found.axes[0], [0.5, 1.5, 2.0, 3.0], [0, 1, 1, 0], left=0, right=0)
    np.testing.assert_allclose(found.values, expected, atol=1e-9)
    assert found.value([0.75]) == pytest.approx(0.25, abs=1e-9)


# in the plane


@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_a_ring_is_logarithmic(angle):
    """Without a drift, between two circles, `log(r / 0.5) / log 4`; correlated noise turns the
    circles into ellipses. The error falls as the square of the cells, and is covered."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    noise = turn @ np.diag([1.0, 2.0 if angle else 1.0]) @ turn.T
    values, axes = np.linalg.eigh(noise)
    inner, outer = (
        ls.Ellipsoid(center=[0.0, 0.0], radii=radius * np.sqrt(values), axes=axes)
        for radius in (0.5, 2.0)
    )
    errors = []
    for cells in (45, 90):
        found = committor(
            still,
            noise,
            source=inner,
            destination=ls.Complement(outer),
            lower=[-3.0, -3.0],
            upper=[3.0, 3.0],
            num_cells=cells,
        )
        x = plane(found)
        radius = np.sqrt(np.einsum("...i,ij,...j", x, np.linalg.inv(noise), x))
        exact = np.clip(np.log(np.maximum(radius, 0.5) / 0.5) / np.log(4), 0, 1)
        errors.append(np.abs(found.values - exact).max())
        assert errors[-1] < found.error < 0.02
    assert 2.5 < errors[0] / errors[1] < 7


@pytest.mark.parametrize(("noise", "cells"), [(0.3, 60), (0.05, 90)])
def test_wells_in_a_row_are_those_of_a_line(noise, cells):
    """The second coordinate does not matter. At the smaller noise the drift moves a path by more
    than a cell while the noise does."""

    def drift(x):
        return jnp.stack([x[0] - x[0] ** 3, -3 * x[1]])

    found = committor(
        drift,
        noise,
        source=left_of(-1.0),
        destination=right_of(1.0),
        lower=[-1.5, -1.0],
        upper=[1.5, 1.0],
        num_cells=cells,
    )
    line = committor(
        lambda x: x - x**3,
        noise,
        source=left_of(-1.0, 1),
        destination=right_of(1.0, 1),
        lower=-1.5,
        upper=1.5,
        num_cells=3000,
    )
    exact = np.interp(found.axes[0], line.axes[0], line.values)[:, None]
    assert np.abs(found.values - exact).max() < found.error < 5e-3
    assert np.ptp(found.values, axis=1).max() < 1e-9
    assert found.values.min() >= 0
    assert found.values.max() <= 1


def test_a_flow_that_turns_by_chebyshev_collocation():
    """Between the left and the right side of a square, with walls above and below: the drift turns
    and the noise is correlated. Where the noise is correlated, a wall of the grid acts along its
    normal, as the boundary condition here."""
    points = 24
    nodes = np.cos(np.pi * np.arange(points + 1) / points)
    weight = np.r_[2, np.ones(points - 1), 2] * (-1.0) ** np.arange(points + 1)
    first = weight[:, None] / weight / (nodes[:, None] - nodes + np.eye(points + 1))
    first -= np.diag(first.sum(1))
    eye = np.eye(points + 1)
    x, y = (axis.ravel() for axis in np.meshgrid(nodes, nodes, indexing="ij"))
    dx, dy = np.kron(first, eye), np.kron(eye, first)

    def flow(x, y):
        return 2 * y - x, -2 * x - y

    u, v = flow(x, y)
    operator = u[:, None] * dx + v[:, None] * dy + 0.5 * (dx @ dx) + 0.5 * (dy @ dy)
    right = np.zeros(len(x))
    walls, sides = np.abs(y) == 1, np.abs(x) == 1
    operator[walls] = dy[walls]
    operator[sides], right[sides] = np.eye(len(x))[sides], (x[sides] > 0).astype(float)
    spectral = linalg.solve(operator, right).reshape(points + 1, points + 1)
    found = committor(
        lambda x: jnp.stack(flow(x[0], x[1])),
        0.5,
        source=left_of(-1.0),
        destination=right_of(1.0),
        lower=[-1.125, -1.0],
        upper=[1.125, 1.0],
        num_cells=90,
    )
    inner = np.abs(found.axes[0]) < 1
    basis = [
        np.polynomial.chebyshev.chebvander(axis, points)
        for axis in (found.axes[0][inner], found.axes[1])
    ]
    inverse = np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, points))
    exact = basis[0] @ inverse @ spectral @ inverse.T @ basis[1].T
    assert np.abs(found.values[inner] - exact).max() < found.error < 0.02


def test_simulated_paths_reach_the_sets_as_often():
    """Paths of Maier and Stein's flow, from two places, by steps of this test's own."""

    def drift(x):
        return jnp.stack([x[0] - x[0] ** 3 - 5 * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1]])

    noise, dt, num = 0.1, 2e-3, 4000
    found = committor(
        drift,
        noise,
        source=left_of(-0.8),
        destination=right_of(0.8),
        lower=[-1.2, -2.0],
        upper=[1.2, 2.0],
        num_cells=90,
    )
    rng = np.random.default_rng(1)
    for start in ([0.0, 0.5], [0.3, 0.2]):
        x, y = np.repeat(np.array(start)[:, None], num, 1)
        side = np.zeros(num)
        while (free := side == 0).any():
            kick = np.sqrt(2 * noise * dt) * rng.standard_normal((2, free.sum()))
            u, v = x[free], y[free]
            x[free] = u + dt * (u - u**3 - 5 * u * v * v) + kick[0]
            y[free] = v - dt * (1 + u * u) * v + kick[1]
            side[free] = np.where(np.abs(x[free]) > 0.8, np.sign(x[free]), 0)
        share = np.mean(side > 0)
        spread = np.sqrt(share * (1 - share) / num)
        assert spread < 0.01
        assert abs(share - found.value(start)) < 5 * spread + found.error


def test_value_is_interpolated():
    axis = np.linspace(0, 1, 3)
    found = Committor((axis, axis), axis[:, None] + 10 * axis, 1e-3)
    assert found.value([0.25, 0.125]) == pytest.approx(1.5)
    np.testing.assert_allclose(found.value([[0.0, 1.0], [1.4, 0.0]]), [10, 1])  # the edge's value
    with pytest.raises(ValueError, match="x must lie in the box of the grid"):
        found.value([2.0, 0.0])
    with pytest.raises(ValueError, match=r"x must have shape \(..., 2\)"):
        found.value(0.5)


# what is refused


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"drift": lambda x: x[0]}, TypeError, r"drift must return a real array of shape \(2,\)"),
        ({"drift": lambda x: x / 0}, ValueError, "drift must be finite between the two sets"),
        ({"diffusion": 0.0}, ValueError, "diffusion must be positive definite between"),
        ({"diffusion": lambda x: x[0]}, ValueError, "diffusion must be positive definite between"),
        (
            {"diffusion": [[1.0, 1.3], [1.3, 2.0]]},
            ValueError,
            "diffusion is too correlated for cells of",
        ),
        ({"source": BEYOND}, ValueError, "source and destination overlap, for example at"),
        (
            {"source": ls.Ball(radius=1e-3, center=[0.01, 0.0])},
            ValueError,
            "source contains no point of a grid of",
        ),
        (
            {"source": ls.Ball(radius=1.0, center=np.zeros(3))},
            ValueError,
            "source has 3 dimensions, but a point has 2. Give",
        ),
        ({"destination": 1.0}, TypeError, "destination must be a Domain"),
        ({"lower": [3.0, -3.0]}, ValueError, "lower must be below upper"),
        ({"lower": [-3.0]}, ValueError, "lower and upper must be two vectors"),
        ({"lower": -np.ones(3), "upper": np.ones(3)}, ValueError, "of one or of two numbers"),
        ({"num_cells": 10}, ValueError, "num_cells must be from 30"),
    ],
)
def test_bad_input(change, kind, message):
    given = {
        "drift": still,
        "diffusion": 1.0,
        "source": BALL,
        "destination": BEYOND,
        "lower": [-2.5, -2.5],
        "upper": [2.5, 2.5],
        "num_cells": 30,
    } | change
    with pytest.raises(kind, match=message):
        committor(given.pop("drift"), given.pop("diffusion"), **given)


def test_what_is_not_resolved_is_said():
    def drift(x):
        return jnp.stack([100 * jnp.sin(3 * x[0] + 0.2), -x[1]])

    with pytest.warns(ls.AccuracyWarning, match="committor is not resolved.*num_cells than 30"):
        committor(
            drift,
            0.5,
            source=left_of(-0.9),
            destination=right_of(1.0),
            lower=[-1.3, -1.0],
            upper=[1.3, 1.0],
            num_cells=30,
        )


def test_a_trap_between_the_sets_is_refused():
    """Paths stay in the middle well for longer than float64 can tell."""

    def drift(x):
        return jnp.stack([-40 * x[0], -x[1]])

    with pytest.raises(RuntimeError, match=r"cannot be computed in float64.*belongs to neither"):
        committor(
            drift,
            0.1,
            source=left_of(-1.0),
            destination=right_of(1.0),
            lower=[-1.5, -1.0],
            upper=[1.5, 1.0],
            num_cells=60,
        )
