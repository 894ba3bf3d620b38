"""Domains that a user wrote: methods of another kind are refused by name, and rays that end
elsewhere than the set are told."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls.domains import CASES, STARTS

import levysde as ls
from levysde.errors import AccuracyWarning
from levysde.interfaces import _disagreements, ray_doubts
from levysde.theory import exact_exit

NOISE = ls.StableComponents(alpha=1.5)


class Disc(ls.protocols.Domain):
    """`|x| < 1`; `kind` is what contains returns, `factor` what ray_distance is wrong by."""

    factor: float = 1.0
    dim: int = eqx.field(static=True, default=2)
    kind: type = eqx.field(static=True, default=bool)

    def contains(self, x):
        return (jnp.sum(x * x) < 1).astype(self.kind)

    def ray_distance(self, x, v):
        along, length = jnp.sum(x * v), jnp.sum(v * v)
        return self.factor * (jnp.sqrt(along**2 + length * (1 - jnp.sum(x * x))) - along) / length

    @property
    def convex(self):
        return True


def sgd(dim):
    return ls.SGD(ls.Quadratic(hessian=jnp.eye(dim)), NOISE, epsilon=0.01)


CALLS = {
    "escape_law": lambda d: ls.escape_law(sgd(2), d, check=False),
    "simulate_escape": lambda d: ls.simulate_escape(
        ls.EulerMaruyama(sgd(2), dt=0.1), d, jnp.zeros(2), num=8, seed=0
    ),
    "simulate_paths": lambda d: ls.simulate_paths(
        ls.EulerMaruyama(sgd(2), dt=0.1),
        jnp.zeros(2),
        seed=0,
        num=2,
        every=1,
        max_steps=3,
        domain=d,
    ),
    "Intersection": lambda d: ls.Intersection(ls.Ball(radius=1.0, center=jnp.zeros(2)), d),
    "Complement": ls.Complement,
    "ExitSets": ls.ExitSets,
    "Dilated": lambda d: ls.Dilated(d, factor=2.0),
    "Inner": lambda d: ls.Inner(d, margin=0.1),
    "Shifted": lambda d: ls.Shifted(d, sgd(2), dt=0.1),
    "JumpAdapted": lambda d: ls.JumpAdapted(sgd(2), dt=0.1, cutoff=0.1, domain=d),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_float_from_contains_is_refused_by_name(name):
    with pytest.raises(
        TypeError,
        match=r"Disc.contains must return one truth value, of shape "
        r"\(\), not float32",
    ):
        CALLS[name](Disc(kind=float))


def test_a_float_from_contains_is_refused_in_one_dimension_too():
    with pytest.raises(TypeError, match=r"Disc.contains must return one truth value"):
        exact_exit(sgd(1), Disc(kind=float, dim=1))


@pytest.mark.parametrize("factor", [0.8, 1.2, np.inf, np.nan])
@pytest.mark.parametrize(
    "wrap", [lambda d: d, lambda d: ls.Intersection(ls.Ball(radius=3.0, center=jnp.zeros(2)), d)]
)
def test_a_wrong_ray_distance_is_told(factor, wrap):
    domain = wrap(Disc(factor=factor))
    (doubt,) = ray_doubts(domain, jnp.zeros(2), np.eye(2))
    assert "ray_distance of Disc disagrees with contains along 2 of 2 rays" in doubt


@pytest.mark.slow
def test_a_wrong_ray_distance_is_told_by_the_law_and_by_the_engine():
    with pytest.warns(
        AccuracyWarning, match="ray_distance of Disc disagrees with contains along 4 of 4 rays"
    ):
        law = ls.escape_law(sgd(2), Disc(factor=1.2), check=False)
    assert "inside a little behind" not in law.warnings[0]
    assert "outside a little before" in law.warnings[0]
    with pytest.warns(AccuracyWarning, match="ray_distance of Disc disagrees"):
        result = ls.simulate_escape(
            ls.EulerMaruyama(sgd(2), dt=0.1),
            Disc(factor=0.8),
            jnp.zeros(2),
            num=8,
            seed=0,
            max_steps=3,
        )
    assert any("inside a little behind" in warning for warning in result.warnings)
    assert ls.escape_law(sgd(2), Disc(), check=False).geometry_warnings == ()  # quiet


@pytest.mark.slow_cases("Basin", "Component", "Inner")
@pytest.mark.parametrize("name", CASES)
def test_own_domains_raise_no_doubt(name):
    directions, start = (
        np.random.default_rng(0).normal(size=(48, 2)),
        STARTS.get(name, jnp.zeros(2)),
    )
    assert _disagreements(CASES[name], start, directions, "own") == []
    assert ray_doubts(CASES[name], start, directions) == []


def test_a_check_inside_jit_has_no_numbers_to_look_at():
    assert jax.jit(lambda f: ls.Intersection(Disc(factor=f)).contains(jnp.zeros(2)))(1.0)
