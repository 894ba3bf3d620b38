"""The escape law's geometry: what it was made of, and which of its assumptions are checked."""

from dataclasses import replace

import jax.numpy as jnp

import levysde as ls
from levysde.theory import escape_law


def test_a_law_keeps_what_it_was_made_of():
    """And another amplitude changes the dynamics with it, and drops what was said about the first amplitude."""
    well = ls.Quadratic(hessian=jnp.eye(2))
    base = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
    adamw = ls.AdamW(well, ls.StableComponents(alpha=1.5), epsilon=0.1, rates=(100.0, 1.0), weight_decay=0.1)
    for dynamics in (base, ls.Scheduled(base, 0.5), adamw):
        law = escape_law(dynamics, ls.Ball(radius=1.0, center=jnp.zeros(2)))
        assert law.dynamics is dynamics
        assert law.domain.radius == 1
        assert law.dt is None
        assert [rays.directions.shape for rays in law.rays] == [(4, 2)]
        warned = replace(law, epsilon_warnings=("too noisy",), geometry_warnings=("a saddle",))
        assert warned.warnings == ("a saddle", "too noisy")
        other = warned.with_epsilon(0.02)
        assert other.warnings == ("a saddle",)
        assert other.epsilon == 0.02
        assert float(other.dynamics.epsilon) == jnp.float32(0.02)
        assert float(law.dynamics.epsilon) == jnp.float32(0.1)
        again = escape_law(other.dynamics, other.domain)
        assert abs(again.rate / other.rate - 1) < 1e-5
