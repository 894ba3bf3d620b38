"""Trajectories at chosen times, exit directions, last jumps, landings: against closed forms and
against the engine."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from check import Check

import levysde as ls

ALPHA = 1.5
FIELDS = {"end_time": "time", "end_step": "steps"} | {
    name: name for name in ("exited", "label", "last_inside", "first_outside", "status")
}


def checks() -> Iterator[Check]:
    yield from same_trajectories()
    yield from laws_at_chosen_times()
    yield from jumps_of_a_one_dimensional_well()
    yield from directions()
    yield from landings()


def same_trajectories() -> Iterator[Check]:
    """Whether `simulate_paths` shows the engine's own trajectories, field by field, bit by bit."""
    well = ls.Quadratic(hessian=jnp.array([[1.0, 0.3], [0.3, 2.0]]))
    adam = ls.Adam(well, ls.StableIsotropic(alpha=1.3), epsilon=0.3, rates=(10.0, 1.0))
    for dynamics in (ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=0.3), adam):
        kernel, ball = ls.EulerMaruyama(dynamics, dt=0.01), ls.Ball(radius=1.0, center=jnp.zeros(2))
        run = ls.simulate_escape(kernel, ball, jnp.zeros(2), num=500, seed=4, max_steps=1000)
        paths = ls.simulate_paths(
            kernel, jnp.zeros(2), num=500, seed=4, every=37, max_steps=1000, domain=ball
        )
        same = [
            np.array_equal(getattr(paths, a), getattr(run, b), equal_nan=True)
            for a, b in FIELDS.items()
        ]
        name = type(dynamics).__name__
        what = (
            f"{name}: number of the {len(FIELDS)} result fields that differ from those of the "
            f"engine, 500 trajectories, {run.exited.sum()} exits"
        )
        yield Check(
            "simulate_paths",
            what,
            len(same) - sum(same),
            0,
            0,
            "simulate_escape with the same seed",
        )


def laws_at_chosen_times() -> Iterator[Check]:
    """A linear well: the law of the Euler chain after n steps is known exactly."""
    well, dt, num, epsilon, times = (
        ls.Quadratic(hessian=jnp.ones(1)),
        0.05,
        40_000,
        0.7,
        [0.5, 1.0, 3.0],
    )
    brownian = ls.EulerMaruyama(ls.SGD(well, ls.Brownian(), epsilon=epsilon), dt=dt)
    stable = ls.EulerMaruyama(
        ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=epsilon), dt=dt
    )
    paths = ls.simulate_paths(brownian, jnp.ones(1), num=num, seed=0, times=times)
    for i, time in enumerate(times):
        n = int(paths.steps[i])
        x = paths.positions[:, i, 0].astype(float) - (1 - dt) ** n
        expected = float(epsilon**2 * dt * np.sum((1 - dt) ** (2 * np.arange(n))))
        yield Check(
            "simulate_paths",
            f"Brownian OU chain from 1: variance about the drifted start, t = {time}",
            float(np.mean(x * x)),
            expected,
            0.05,
            "closed form of the chain",
            float(np.std(x * x) / np.sqrt(num)),
        )
    paths = ls.simulate_paths(stable, jnp.ones(1), num=num, seed=0, times=times)
    for i, time in enumerate(times):
        n = int(paths.steps[i])
        c = np.cos(paths.positions[:, i, 0].astype(float) - (1 - dt) ** n)
        expected = np.exp(-(epsilon**ALPHA) * dt * np.sum((1 - dt) ** (ALPHA * np.arange(n))))
        yield Check(
            "simulate_paths",
            f"stable OU chain from 1: characteristic function at k = 1, t = {time}",
            float(c.mean()),
            float(expected),
            0.02,
            "closed form of the chain",
            float(c.std() / np.sqrt(num)),
        )


def share(
    part: str, what: str, hits: np.ndarray, expected: float, tolerance: float, source: str
) -> Check:
    error = float(np.sqrt(expected * (1 - expected) / hits.size))
    return Check(part, what, float(hits.mean()), expected, tolerance, source, error)


def jumps_of_a_one_dimensional_well() -> Iterator[Check]:
    """The exiting jump out of (-1, 1/2): its side, its overshoot; and creeping by Brownian
    noise."""
    well, box = (
        ls.Quadratic(hessian=jnp.ones(1)),
        ls.Box(lower=-jnp.ones(1), upper=jnp.full(1, 0.5)),
    )
    kernel = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=0.02), dt=0.05)
    run = ls.simulate_escape(kernel, box, jnp.zeros(1), num=20_000, seed=1)
    found = ls.last_jumps(run, kernel, box)
    source = "distribution of the escaping jump, m(. ∩ W) / m(W)"
    right = found.jump[:, 0] > 0
    expected = 0.5**-ALPHA / (0.5**-ALPHA + 1)
    yield share(
        "last_jumps",
        "share of exits from (-1, 1/2) to the right, eps = 0.02",
        right,
        expected,
        0.03,
        source,
    )
    for times in (1.5, 2.0, 4.0):
        # among all exits to the right: to drop those that fell short of a0 alone would bias this by
        # E|x| / a0 before the jump
        far = found.jump[right, 0] > 0.5 * times
        what = (
            f"share of jumps to the right that are longer than {times:g} times the distance 0.5 to "
            "the boundary, eps = 0.02"
        )
        yield share(
            "last_jumps", what, far, times**-ALPHA, 0.08, source + ", P(X > x) = (0.5/x)^alpha"
        )
    yield Check(
        "last_jumps",
        "share of exits that happen by one jump, stable noise, eps = 0.02",
        found.jump_share.value,
        1.0,
        0.02,
        "limit of small eps",
    )
    brownian = ls.EulerMaruyama(ls.SGD(well, ls.Brownian(), epsilon=0.4), dt=1e-3)
    run = ls.simulate_escape(brownian, box, jnp.zeros(1), num=2000, seed=1)
    creep = ls.last_jumps(run, brownian, box).jump_share.value
    yield Check(
        "last_jumps",
        "share of exits that happen by one jump, Brownian noise, dt = 1e-3",
        creep,
        0.0,
        0.0,
        "continuous paths",
    )


def directions() -> Iterator[Check]:
    """Exits along the Hessian's eigenvectors, by closed forms of the law."""
    well = ls.Quadratic(hessian=jnp.array([1.0, 2.0]))
    box = ls.Box(lower=jnp.array([-1.0, -0.6]), upper=jnp.array([1.0, 0.6]))
    kernel = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=0.01), dt=0.05)
    run = ls.simulate_escape(kernel, box, jnp.zeros(2), num=5000, seed=2)
    found = ls.exit_directions(run, well, law=ls.escape_law(kernel.dynamics, box, check=False))
    expected = 1 / (1 + 0.6**-ALPHA)
    assert found.predicted is not None
    source = "ray distances: 1/(1 + 0.6^-a)"
    what = "share along the flat eigenvector, box 1 x 0.6, components"
    yield Check(
        "exit_directions", what + ": predicted", float(found.predicted[0]), expected, 1e-5, source
    )
    squares = found.components**2 / np.sum(found.components**2, 1, keepdims=True)
    error = float(squares[:, 0].std() / np.sqrt(len(squares)))
    yield Check(
        "exit_directions", what + ": measured", float(found.shares[0]), expected, 0.1, source, error
    )
    # isotropic noise stretched by (1, .5), unit disc: jumps A v reach r(Av) = 1/|Av|, so weights
    # |Av|^a over the circle
    stretch = np.array([1.0, 0.5])
    dynamics = ls.SGD(
        well, ls.StableIsotropic(alpha=ALPHA), epsilon=0.02, scale=jnp.asarray(stretch)
    )
    kernel, disc = ls.EulerMaruyama(dynamics, dt=0.05), ls.Ball(radius=1.0, center=jnp.zeros(2))
    run = ls.simulate_escape(kernel, disc, jnp.zeros(2), num=5000, seed=2)
    found = ls.exit_directions(run, well, law=ls.escape_law(dynamics, disc, check=False))
    angle = (np.arange(100_000) + 0.5) / 100_000 * 2 * np.pi
    x, y = stretch[0] * np.cos(angle), stretch[1] * np.sin(angle)
    size = np.hypot(x, y)
    expected = float(np.sum(size**ALPHA * (x / size) ** 2) / np.sum(size**ALPHA))
    assert found.predicted is not None
    source = "quadrature over the circle"
    what = "share along the flat eigenvector, disc, isotropic noise scaled by (1, 0.5)"
    yield Check(
        "exit_directions", what + ": predicted", float(found.predicted[0]), expected, 1e-4, source
    )
    squares = found.components**2 / np.sum(found.components**2, 1, keepdims=True)
    error = float(squares[:, 0].std() / np.sqrt(len(squares)))
    yield Check(
        "exit_directions",
        what + ": measured",
        float(found.shares[0]),
        expected,
        0.05,
        source,
        error,
    )


def landings() -> Iterator[Check]:
    """Out of (-1.5, 0) of a double well: exits to the left slide back, those to the right land in
    the other well."""
    well = ls.DoubleWell(barrier=0.5)
    box = ls.Box(lower=jnp.full(1, -1.5), upper=jnp.zeros(1))
    kernel = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=0.02), dt=0.02)
    run = ls.simulate_escape(kernel, box, well.minimum, num=8000, seed=3)
    found = ls.landing_sharpness(run, well)
    expected = 1 / (1 + 0.5**-ALPHA)
    source = "exit side a0^-a/(a0^-a + b0^-a), a0 = 1, b0 = 1/2"
    what = "double well, exits from (-1.5, 0) that land in the other well, eps = 0.02"
    yield share("landing_sharpness", what, found.minimum == 1, expected, 0.1, source)
    yield Check(
        "landing_sharpness",
        "share of exits whose flow did not converge to a minimum, the same double well",
        float((~found.settled).mean()),
        0.0,
        0.0,
        "every flow converges",
    )

    def loss(x):  # two wells, curvatures 8 and 2 across, 3 along
        across = jnp.where(x[0] < 0, 4 * (x[0] + 0.5) ** 2, (x[0] - 1) ** 2)
        return across + 1.5 * x[1] ** 2

    both = ls.from_function(loss, dim=2, minimum=jnp.array([-0.5, 0.0]))
    ball = ls.Ball(radius=0.49, center=both.minimum)
    kernel = ls.EulerMaruyama(ls.SGD(both, ls.StableComponents(alpha=ALPHA), epsilon=0.05), dt=0.02)
    run = ls.simulate_escape(kernel, ball, both.minimum, num=500, seed=3)
    found = ls.landing_sharpness(run, both, minima=[[-0.5, 0.0], [1.0, 0.0]])
    for i, (name, top, trace) in enumerate((("sharp", 8.0, 11.0), ("flat", 3.0, 5.0))):
        here = found.minimum == i
        what = f"largest error over {here.sum()} landings in the {name} well"
        wrong = np.abs(found.largest_eigenvalue[here] - top).max()
        yield Check(
            "landing_sharpness",
            f"top eigenvalue, {what}",
            float(wrong),
            0.0,
            1e-4,
            "second derivatives in closed form",
        )
        wrong = np.abs(found.trace[here] - trace).max()
        yield Check(
            "landing_sharpness",
            f"trace, {what}",
            float(wrong),
            0.0,
            1e-4,
            "second derivatives in closed form",
        )
