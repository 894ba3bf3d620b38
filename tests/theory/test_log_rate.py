"""`log_rate` against `escape_law`, and its derivatives against finite differences, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.theory import escape_law, kramers_law, log_rate

STEP = 1e-4  # of the finite differences, of order 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


# two numbers of each driver, whose derivatives are taken
DRIVERS = {
    "StableComponents": lambda a, c: ls.StableComponents(alpha=a),
    "StableIsotropic": lambda a, c: ls.StableIsotropic(alpha=a),
    "SkewedComponents": lambda a, c: ls.SkewedComponents(alpha=a, skewness=c / 10),
    "TruncatedComponents": lambda a, c: ls.TruncatedComponents(alpha=a, cutoff=5 * c),
    "TruncatedIsotropic": lambda a, c: ls.TruncatedIsotropic(alpha=a, cutoff=5 * c),
    "TemperedComponents": lambda a, c: ls.TemperedComponents(alpha=a, length=c),
    "TemperedIsotropic": lambda a, c: ls.TemperedIsotropic(alpha=a, length=c),
    "StudentT": lambda a, c: ls.StudentT(df=a, dt=c / 100),
    "CompoundPoisson of normals": lambda a, c: ls.CompoundPoisson(
        a / 100, ls.noise.GaussianJump(std=c, dim=2)
    ),
    "CompoundPoisson of Pareto jumps": lambda a, c: ls.CompoundPoisson(
        0.01, ls.noise.ParetoJump(alpha=a, smallest_jump=c / 4, dim=2)
    ),
    "DriverSum": lambda a, c: ls.DriverSum(
        (ls.StableComponents(alpha=a), c), (ls.StableIsotropic(alpha=1.2), -0.4), ls.Brownian()
    ),
}
DOMAINS = {
    "Ball": lambda r: ls.Ball(radius=r, center=jnp.array([0.1, -0.2])),
    "Box": lambda r: ls.Box(lower=jnp.array([-1.3, -r]), upper=jnp.array([r, 1.1])),
    "HalfSpaces": lambda r: ls.HalfSpaces(
        normals=jnp.array([[1.0, 0.5], [-1.0, 0.2]]), offsets=jnp.array([1.0, 0.8]) * r
    ),
    "Ellipsoid": lambda r: ls.Ellipsoid(
        matrix=jnp.array([[1.0, 0.3], [0.3, 2.0]]) / r**2, center=jnp.array([0.05, 0.1])
    ),
    "Sublevel": lambda r: ls.Sublevel(_well(r), height=r),
}


def _well(r):
    return ls.Quadratic(hessian=jnp.array([[1.0, 0.3], [0.3, 2.0]]) * r, minimum=jnp.zeros(2))


def _parts(driver, domain, numbers):
    epsilon, alpha, c, r, scale = numbers
    sgd = ls.SGD(
        _well(1.0),
        DRIVERS[driver](alpha, c),
        epsilon=epsilon,
        scale=jnp.array([[1.0, 0.2], [0.0, 1.0]]) * scale,
    )
    return sgd, DOMAINS[domain](r)


def _slope(fn, x, i):
    """Central difference of order 4 of `fn` with respect to the i-th number."""
    step = np.zeros(len(x))
    step[i] = STEP
    values = [float(fn(jnp.asarray(x + k * step))) for k in (-2, -1, 1, 2)]
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * STEP)


NUMBERS = np.array([0.3, 1.4, 1.1, 0.9, 1.2])
# the second number of the stable drivers does nothing
PAIRS = [(driver, "Ellipsoid") for driver in DRIVERS] + [
    (driver, domain)
    for driver in ("StableComponents", "StableIsotropic")
    for domain in DOMAINS
    if domain != "Ellipsoid"
]


@pytest.mark.parametrize(("driver", "domain"), PAIRS)
def test_the_rate_is_that_of_escape_law(driver, domain):
    parts = _parts(driver, domain, NUMBERS)
    law = escape_law(*parts, num_rays=256, follow=False, check=False)

    assert float(log_rate(*parts, num_rays=256)) == pytest.approx(law.log_rate, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("driver", "domain"), PAIRS)
@pytest.mark.slow_cases(
    but=("StableComponents-Ball", "StableComponents-Box", "StableComponents-HalfSpaces")
)
def test_derivatives_are_those_of_finite_differences(driver, domain):
    fn = jax.jit(lambda numbers: log_rate(*_parts(driver, domain, numbers), num_rays=256))
    found = np.asarray(jax.jit(jax.grad(fn))(jnp.asarray(NUMBERS)))
    exact = [_slope(fn, NUMBERS, i) for i in range(len(NUMBERS))]

    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_derivatives_with_respect_to_loss_center_offsets_and_learning_rate():
    def fn(numbers):
        a, b, eta, x, offset = numbers
        well = ls.Quadratic(hessian=jnp.array([[1.0, 0.0], [0.0, 2.0]]) * a, minimum=jnp.zeros(2))
        rms = ls.RMSProp(well, ls.StableComponents(alpha=1.5), learning_rate=eta)
        domain = ls.Intersection(
            ls.Ball(radius=1.0 + b, center=jnp.stack([x, 0.1])),
            ls.HalfSpaces(normals=jnp.array([[0.6, 0.8]]), offsets=offset[None]),
        )
        return log_rate(rms, domain)

    numbers = np.array([1.2, 0.3, 0.05, 0.1, 0.7])
    found = jax.grad(fn)(jnp.asarray(numbers))

    np.testing.assert_allclose(
        found, [_slope(fn, numbers, i) for i in range(5)], rtol=1e-6, atol=1e-8
    )


@pytest.mark.slow
def test_second_derivatives_of_a_searched_crossing():
    def fn(numbers):
        height, epsilon = numbers
        well = ls.from_function(
            lambda x: jnp.sum(x**2 + x**3 / 6 + x**4), dim=2, minimum=jnp.zeros(2)
        )
        sgd = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
        return log_rate(sgd, ls.Sublevel(well, height=height))

    numbers = np.array([0.5, 0.1])
    found = jax.hessian(fn)(jnp.asarray(numbers))

    for i in range(2):
        slope = [_slope(lambda x, i=i: jax.grad(fn)(x)[i], numbers, j) for j in range(2)]
        np.testing.assert_allclose(found[i], slope, rtol=1e-5, atol=1e-6)


def test_a_set_that_rays_enter_and_leave_again():
    ring = ls.Intersection(
        ls.Ball(radius=3.0, center=jnp.zeros(2)),
        ls.Complement(ls.Ball(radius=0.3, center=jnp.array([1.0, 0.05]))),
    )
    sgd = ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1)
    law = escape_law(sgd, ring, follow=False, check=False)

    assert float(log_rate(sgd, ring)) == pytest.approx(law.log_rate, rel=1e-6)


def test_vmap_over_amplitudes_is_the_power_law():
    def fn(epsilon):
        sgd = ls.SGD(_well(1.0), ls.StableIsotropic(alpha=1.3), epsilon=epsilon)
        return log_rate(sgd, ls.Ball(radius=1.0, center=jnp.zeros(2)))

    epsilon = jnp.array([1e-30, 1e-3, 1.0])
    values = jax.vmap(fn)(epsilon)

    np.testing.assert_allclose(values, values[2] + 1.3 * jnp.log(epsilon), rtol=1e-12)


def test_float32_is_right_to_its_digits_at_tiny_amplitudes():
    with jax.enable_x64(False):
        sgd = ls.SGD(
            ls.Quadratic(hessian=jnp.eye(2)), ls.StableComponents(alpha=1.5), epsilon=1e-25
        )
        value = log_rate(sgd, ls.Ball(radius=1.0, center=jnp.zeros(2)))

    with jax.enable_x64(True):
        exact = np.log(4 * ls.noise.levy_constant(1.5) / 1.5) + 1.5 * np.log(1e-25)
    assert float(value) == pytest.approx(exact, rel=1e-6)


# -- Gaussian noise -------------------------------------------------------------------------------


def _tilted(a):
    return ls.from_function(
        lambda x: (x[0] ** 2 - 1) ** 2 / 4 + a * x[0] / 20 + (1 + a * x[0]) * x[1] ** 2 / 2,
        dim=2,
        minimum=jnp.zeros(2),
    )


def _gaussian(numbers):
    a, diffusion = numbers

    def loss(x):
        return (x[0] ** 2 - 1) ** 2 / 4 + a * x[0] / 10 + (2 + a * x[0]) * x[1] ** 2 / 2

    well = ls.landscapes.FunctionLandscape(fn=loss, minimum=jnp.array([-1.0, 0.0]), dim=2)
    return well, diffusion


def test_gaussian_rate_is_that_of_kramers_law():
    well, diffusion = _gaussian((0.3, 0.04))
    law = kramers_law(well, saddles=[0.1, 0.0], diffusion=diffusion)
    for dynamics in (
        ls.Langevin(well, diffusion=diffusion),
        ls.SGD(well, ls.Brownian(), epsilon=np.sqrt(2 * diffusion)),
    ):
        found = log_rate(dynamics, saddles=[0.1, 0.0])
        assert float(found) == pytest.approx(law.log_rate, rel=1e-10)


def test_gaussian_derivatives_are_those_of_finite_differences():
    def fn(diffusion):
        well, _ = _gaussian((0.3, 0.0))
        return log_rate(ls.Langevin(well, diffusion=diffusion[0]), saddles=[0.1, 0.0])

    found = jax.grad(fn)(jnp.array([0.05]))

    np.testing.assert_allclose(found, [_slope(fn, np.array([0.05]), 0)], rtol=1e-6)


def test_gaussian_derivatives_with_respect_to_the_loss():
    network = ls.landscapes.Quadratic  # a loss with numbers of its own: the tilt of a double well

    class Tilted(network):
        tilt: jax.Array

        def __init__(self, tilt):
            super().__init__(hessian=jnp.eye(2), minimum=jnp.array([-1.0, 0.0]))
            self.tilt = tilt

        def value(self, x):
            return (x[0] ** 2 - 1) ** 2 / 4 + self.tilt * x[0] / 10 + x[1] ** 2

        def gradient(self, x):
            return jax.grad(self.value)(x)

        def hessian(self, x):
            return jax.hessian(self.value)(x)

    def fn(tilt):
        return log_rate(ls.Langevin(Tilted(tilt[0]), diffusion=0.05), saddles=[[0.1, 0.0]])

    found = jax.grad(fn)(jnp.array([0.3]))

    np.testing.assert_allclose(found, [_slope(fn, np.array([0.3]), 0)], rtol=1e-6)


# -- refusals -------------------------------------------------------------------------------------


def _ball():
    return ls.Ball(radius=1.0, center=jnp.zeros(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: log_rate(ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1)),
            "domain",
        ),
        (
            lambda: log_rate(
                ls.SGD(_well(1.0), ls.StableComponents(alpha=2.0), epsilon=0.1), _ball()
            ),
            "no jumps",
        ),
        (
            lambda: log_rate(
                ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1),
                ls.Ball(radius=1.0, center=jnp.array([3.0, 0.0])),
            ),
            "outside the domain",
        ),
        (
            lambda: log_rate(
                ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1),
                ls.Ball(radius=1.0, center=jnp.zeros(3)),
            ),
            "3 dimensions",
        ),
        (
            lambda: log_rate(
                ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1),
                ls.Predicate(lambda x: jnp.sum(x**2) < 1, dim=2),
            ),
            "faces",
        ),
        (
            lambda: log_rate(
                ls.Momentum(
                    _well(1.0), ls.StableComponents(alpha=1.5), learning_rate=0.1, momentum=0.9
                ),
                _ball(),
            ),
            "follow",
        ),
        (lambda: log_rate(ls.Langevin(_well(1.0), diffusion=0.1), _ball()), "saddles"),
        (
            lambda: log_rate(ls.Langevin(_well(1.0), diffusion=0.1), saddles=[0.3, 0.2]),
            "index one",
        ),
        (
            lambda: log_rate(ls.Langevin(_well(1.0), diffusion=[0.1, 0.2]), saddles=[0.3, 0.2]),
            "one strength",
        ),
        (
            lambda: log_rate(
                ls.SGD(
                    _well(1.0),
                    ls.CompoundPoisson(0.1, lambda words: jnp.ones(2), words_per_jump=1),
                    epsilon=0.1,
                ),
                _ball(),
            ),
            "log_tail",
        ),
        (
            lambda: log_rate(
                ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1),
                _ball(),
                saddles=[0.0, 0.0],
            ),
            "saddles are for Brownian",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_traced_attractor_outside_gives_nan():
    def fn(x):
        sgd = ls.SGD(_well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1)
        return log_rate(sgd, ls.Ball(radius=1.0, center=jnp.stack([x, x])))

    assert np.isnan(jax.jit(fn)(3.0))
    assert np.isfinite(jax.jit(fn)(0.1))


def test_unbounded_along_every_jump_is_a_rate_of_zero():
    sgd = ls.SGD(
        _well(1.0), ls.StableComponents(alpha=1.5), epsilon=0.1, scale=jnp.array([1.0, 0.0])
    )
    domain = ls.HalfSpaces(normals=jnp.array([[0.0, 1.0]]), offsets=jnp.array([1.0]))

    assert float(log_rate(sgd, domain)) == -np.inf
