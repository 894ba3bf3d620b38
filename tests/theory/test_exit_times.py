"""Simulated exit times against exact ones: the whole chain from words to means.

Every comparison is at 5 standard errors and with enough trajectories to see the stated relative
error.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.theory import boundary_shift, brownian_mean_exit, getoor_mean_exit, ryznar_mean_exit

# short trajectories want many lanes for the host to keep up; results do not depend on their number
LANES = 4096


def free(driver, dim, dt, num, seed=1, radius=1.0, start=None):
    """Exit times of the driver itself (no drift) from a ball."""
    flat = ls.Quadratic(hessian=jnp.zeros(dim))
    stepper = ls.EulerMaruyama(ls.SGD(flat, driver, epsilon=1.0), dt=dt)
    ball = ls.Ball(radius=radius, center=jnp.zeros(dim))
    return ls.simulate_escape(
        stepper, ball, jnp.zeros(dim) if start is None else start, num=num, seed=seed, lanes=LANES
    )


def well(driver, epsilon, dt, num, dim=1, radius=1.0, **options):
    quadratic = ls.Quadratic(hessian=jnp.ones(dim))
    stepper = ls.EulerMaruyama(ls.SGD(quadratic, driver, epsilon=epsilon), dt=dt)
    return ls.simulate_escape(
        stepper,
        ls.Ball(radius=radius, center=jnp.zeros(dim)),
        jnp.zeros(dim),
        num=num,
        seed=2,
        **options,
    )


@pytest.mark.slow_cases(but=("StableComponents-0.02-0.82314",))
@pytest.mark.parametrize(
    ("dt", "exact"), [(0.04, 0.86615), (0.02, 0.82314), (0.01, 0.79652), (0.005, 0.77993)]
)
@pytest.mark.parametrize("driver", [ls.StableComponents, ls.StableIsotropic])
def test_the_skeleton_itself(driver, dt, exact):
    """The discrete walk's own exact mean (alpha = 1.5 from (-1, 1), by integral equation; no bias
    to excuse)."""
    assert_mean(free(driver(alpha=1.5), 1, dt, 400_000).time, exact, 0.01)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.8, 1.2, 1.5, 1.8])
@pytest.mark.slow
def test_getoor(alpha, dim):
    """Isotropic, no drift; above alpha = 1 with the boundary moved out by the constant of the
    skeleton."""
    dt = 1e-3
    shift = boundary_shift(alpha) * dt ** (1 / alpha) if alpha > 1 else 0.0
    exact = getoor_mean_exit(alpha=alpha, dim=dim, radius=1 + shift)
    run = free(ls.StableIsotropic(alpha=alpha), dim, dt, 100_000)
    # what is left after the shift is of order dt: 0.2% covers it, half of the 0.5% looked for
    assert_close(
        run.time.mean(), run.time.std() / np.sqrt(run.num) + 0.002 * exact / 5, exact, 0.02
    )


@pytest.mark.parametrize("alpha", [0.8, 1.5])
@pytest.mark.slow
def test_ryznar(alpha):
    """Independent coordinates in d = 2, from a start off the centre; the bias falls as
    dt^(1/alpha)."""
    exact = ryznar_mean_exit(alpha=alpha, dim=2, start=0.5)
    start = jnp.array([0.3, 0.4])
    coarse, fine = (
        free(ls.StableComponents(alpha=alpha), 2, dt, 150_000, start=start).time
        for dt in (4e-3, 5e-4)
    )
    power = 8 ** -min(1.0, 1 / alpha)
    estimate = (fine.mean() - power * coarse.mean()) / (1 - power)
    error = np.hypot(fine.std(), power * coarse.std()) / (1 - power) / np.sqrt(150_000)
    assert_close(estimate, error + 0.003 * exact / 5, exact, 0.035)


@pytest.mark.slow
def test_brownian_ball():
    for dim in (1, 2):
        run = free(ls.Brownian(), dim, 2e-4, 20_000)
        # the skeleton's boundary stands 0.5826 sqrt(dt) further out
        exact = brownian_mean_exit(dim=dim, radius=1 + 0.5826 * 2e-4**0.5)
        assert_mean(run.time, exact, 0.04)


@pytest.mark.slow
def test_langevin_is_the_gaussian_link():
    """SaS(1) at alpha = 2 with epsilon = sqrt(D) is Langevin with diffusion D: one law, two
    samplers."""
    stable = well(ls.StableComponents(alpha=2.0), np.sqrt(0.3), 2e-3, 40_000)
    quadratic = ls.Quadratic(hessian=jnp.ones(1))
    stepper = ls.EulerMaruyama(ls.Langevin(quadratic, diffusion=0.3), dt=2e-3)
    gauss = ls.simulate_escape(
        stepper, ls.Ball(radius=1.0, center=jnp.zeros(1)), jnp.zeros(1), num=40_000, seed=3
    )
    error = np.hypot(stable.time.std(), gauss.time.std()) / 200
    assert_close(stable.time.mean(), error, gauss.time.mean(), 0.05)


@pytest.mark.parametrize(
    ("alpha", "epsilon", "exact", "num"),
    [
        (1.5, 1.0, 0.948764, 50_000),
        (1.5, 0.5, 3.82717, 50_000),
        (1.5, 0.2, 23.8551, 50_000),
        (1.8, 0.2, 79.0971, 40_000),
    ],
)
@pytest.mark.slow_cases("1.8-0.2")
def test_ornstein_uhlenbeck(alpha, epsilon, exact, num):
    """OU from (-1, 1): the nonlocal solver's values, within 2%."""
    run = well(ls.StableComponents(alpha=alpha), epsilon, 1e-3 if epsilon > 0.2 else 4e-3, num)
    dt = run.info.dt
    # late by the boundary shift, to leading order the relative change of the mean with the radius
    late = alpha * boundary_shift(alpha) * epsilon * dt ** (1 / alpha)
    assert_close(
        run.time.mean() / (1 + late),
        run.time.std() / np.sqrt(num) + 0.002 * exact / 5,
        exact,
        0.035,
    )
    assert abs(run.time.mean() / (1 + late) / exact - 1) < 0.02


@pytest.mark.slow
def test_ornstein_uhlenbeck_disc():
    run = well(ls.StableIsotropic(alpha=1.5), 0.5, 1e-3, 100_000, dim=2)
    late = 1.5 * boundary_shift(1.5) * 0.5 * 1e-3 ** (1 / 1.5)
    assert_close(
        run.time.mean() / (1 + late), run.time.std() / np.sqrt(run.num) + 0.001, 1.98425, 0.025
    )


@pytest.mark.slow
def test_exponential_shape_comes_before_the_mean():
    """E t^2 / 2 (E t)^2 = .962, .998 at eps = .5, .2 (alpha = 1.5)."""
    for epsilon, exact in ((0.5, 0.962), (0.2, 0.998)):
        t = well(ls.StableComponents(alpha=1.5), epsilon, 4e-3, 100_000).time
        values = t**2 / 2 / t.mean() ** 2
        influence = values - 2 * values.mean() * t / t.mean()  # of each row on the ratio
        assert_close(values.mean(), influence.std() / np.sqrt(len(t)), exact, 0.05)


@pytest.mark.slow
def test_box_survival_is_a_product():
    """Components noise in a diagonal well on a box: the coordinates are independent, so survival
    multiplies."""
    driver, times = ls.StableComponents(alpha=1.5), np.array([0.5, 1.5, 3.0])
    one = well(driver, 0.5, 5e-3, 200_000).time
    quadratic = ls.Quadratic(hessian=jnp.ones(2))
    stepper = ls.EulerMaruyama(ls.SGD(quadratic, driver, epsilon=0.5), dt=5e-3)
    box = ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2))
    run = ls.simulate_escape(stepper, box, jnp.zeros(2), num=200_000, seed=9)
    for t in times:
        single = (one > t).mean()
        error = np.sqrt(
            single**2 * (1 - single**2) / run.num + 4 * single**3 * (1 - single) / len(one)
        )
        assert_close((run.time > t).mean(), error, single**2, 0.04)
    counts = np.bincount(run.label, minlength=5)[1:]
    assert counts.sum() == run.num
    for share in counts / run.num:  # four faces alike
        assert_close(share, np.sqrt(0.25 * 0.75 / run.num), 0.25, 0.03)


def test_laws_at_several_amplitudes_are_those_of_dynamics_made_with_them():
    def dynamics(epsilon):
        return ls.SGD(
            ls.Quadratic(hessian=jnp.eye(2)), ls.TemperedIsotropic(1.5, 2.0), epsilon=epsilon
        )

    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    laws = ls.escape_law(dynamics(0.3), ball, epsilon=[0.1, 0.2], num_rays=64, check=False)

    for law, epsilon in zip(laws, (0.1, 0.2), strict=True):
        assert law == ls.escape_law(dynamics(epsilon), ball, num_rays=64, check=False)


@pytest.mark.parametrize("epsilon", [0.1, [], [0.1, -0.2], [[0.1]], [0.1, float("nan")]])
def test_bad_amplitudes_are_refused(epsilon):
    sgd = ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), ls.StableComponents(alpha=1.5), epsilon=0.1)

    with pytest.raises(ValueError, match="epsilon"):
        ls.escape_law(sgd, ls.Ball(radius=1.0, center=jnp.zeros(1)), epsilon=epsilon)
