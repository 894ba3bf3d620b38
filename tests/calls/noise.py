"""Calls of `levysde.noise`."""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

import levysde as ls
from calls.table import Call, Exempt
from levysde import noise

STABLE = ls.StableComponents(alpha=1.5)
WELL = ls.Quadratic(hessian=jnp.array([1.0, 4.0]))
# which do for a number too
VECTOR = {"skewness": ("several",), "covariance": ("several",), "value": ("several",)}
SCALES = {"scale": ("none",), "value": ("none", "float")}  # None is the identity
GRADIENTS = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)

# for the suite that every driver passes: the driver, its noise dimension, and a step it accepts
DRIVERS: dict[str, tuple[Callable[[], ls.protocols.Driver], int, float]] = {
    "Brownian": (ls.Brownian, 2, 0.5),
    "components": (lambda: ls.StableComponents(1.3), 2, 0.5),
    "isotropic": (lambda: ls.StableIsotropic(0.8), 3, 0.5),
    "skewed": (lambda: ls.SkewedComponents(1.5, 0.5), 2, 0.7),
    "skewed S0": (lambda: ls.SkewedComponents(1.3, -0.8, "S0"), 2, 0.3),
    "skewed below 1": (lambda: ls.SkewedComponents(0.7, [1.0, -0.4]), 2, 0.5),
    "skewed at 1": (lambda: ls.SkewedComponents(1.0, 0.9), 1, 0.25),
    "skewed near 1": (lambda: ls.SkewedComponents(1.0001, 0.9, "S0"), 1, 0.25),
    "tempered": (lambda: ls.TemperedComponents(1.5, 1.0, tries=8), 2, 0.07),
    "tempered isotropic": (lambda: ls.TemperedIsotropic(0.8, 2.0, tries=12), 3, 0.3),
    "truncated": (lambda: ls.TruncatedComponents(1.5, 2.0), 2, 1e-3),
    "truncated isotropic": (lambda: ls.TruncatedIsotropic(0.7, 2.0), 3, 1e-3),
    "poisson": (lambda: ls.CompoundPoisson(3.0, ls.GaussianJump(0.7, 2), max_jumps=9), 2, 0.2),
    "poisson, plain function": (
        lambda: ls.CompoundPoisson(
            1.0,
            lambda words: jnp.array([1.0, -0.5]) * (words[0] >> 31).astype(float),
            words_per_jump=1,
            characteristic=lambda k: (1 + jnp.exp(1j * (k[0] - 0.5 * k[1]))) / 2,
        ),
        2,
        0.04,
    ),
    "t": (lambda: ls.StudentT(2.5, dt=0.25), 2, 0.25),
    "mixture": (
        lambda: ls.GaussianMixture([0.7, 0.05, 0.25], [1.0, 6.0, 0.3], dt=0.25),
        2,
        0.25,
    ),
    "sum": (
        lambda: ls.DriverSum(
            (ls.Brownian(), 0.5), (ls.StudentT(1.5, dt=0.25), -2.0), ls.StableIsotropic(1.5)
        ),
        2,
        0.25,
    ),
    "measured rows": (lambda: ls.EmpiricalSteps(GRADIENTS, batch_size=3), 2, 1.0),
}


def calls() -> Iterator[Call | Exempt]:
    yield from drivers()
    yield from scales()
    yield from constants()


def drivers() -> Iterator[Call | Exempt]:
    yield Call(noise.Brownian, lambda: {})
    yield Call(noise.StableComponents, lambda: {"alpha": 1.5, "exact_sampler": False})
    yield Call(noise.StableIsotropic, lambda: {"alpha": 1.5})
    yield Call(
        noise.SkewedComponents,
        lambda: {"alpha": 1.5, "skewness": 0.5, "parameterization": "S1"},
        fine=VECTOR,
    )
    yield Call(
        noise.SkewedComponents,
        lambda: {"alpha": 0.8, "skewness": jnp.array([0.5, -1.0]), "parameterization": "S0"},
    )
    for law in (noise.TemperedComponents, noise.TemperedIsotropic):
        yield Call(law, lambda: {"alpha": 1.5, "length": 1.0, "tries": 4})
    for law in (noise.TruncatedComponents, noise.TruncatedIsotropic):
        yield Call(law, lambda: {"alpha": 1.5, "cutoff": 5.0, "tries": 3})
    yield Call(noise.StudentT, lambda: {"df": 3.0, "dt": 0.01})
    mixture = {"weights": jnp.array([0.9, 0.1]), "scales": jnp.array([1.0, 10.0]), "dt": 0.01}
    yield Call(noise.GaussianMixture, lambda: mixture)
    yield Call(noise.EmpiricalSteps, lambda: {"rows": GRADIENTS, "batch_size": 3, "dt": 1.0})
    yield Call(noise.DriverSum, lambda: {"parts": STABLE})
    yield Call(noise.DriverSum, lambda: {"parts": (noise.Brownian(), (STABLE, 0.5))})
    yield Call(noise.GaussianJump, lambda: {"std": 1.0, "dim": 2})
    yield Call(noise.ParetoJump, lambda: {"alpha": 1.5, "smallest_jump": 1.0, "dim": 2})
    poisson = {
        "intensity": 1.0,
        "words_per_jump": 2,
        "max_jumps": 4,
        "characteristic": lambda k: jnp.exp(-jnp.sum(k * k) / 2),
    }
    yield Call(
        noise.CompoundPoisson,
        lambda: poisson | {"jump": lambda words: words[:1] * jnp.array([1e-9])},
    )
    yield Call(noise.CompoundPoisson, lambda: poisson | {"jump": noise.GaussianJump(std=1.0)})
    path = {
        "driver": ls.StableComponents(alpha=1.5),
        "dim": 2,
        "dt": 0.01,
        "seed": 0,
        "trajectory": 0,
    }
    # by vmap over trajectories
    yield Call(noise.LevyPath, lambda: path, fine={"trajectory": ("traced",)})


def scales() -> Iterator[Call | Exempt]:
    yield Call(noise.ScalarScale, lambda: {"noise_factor": 0.5})
    yield Call(noise.DiagonalScale, lambda: {"factors": jnp.array([1.0, 0.5])})
    yield Call(noise.DenseScale, lambda: {"matrix": jnp.array([[1.0, 0.5], [0.0, 2.0]])})
    yield Call(
        noise.LowRankScale,
        lambda: {"low_rank_factor": jnp.array([[1.0], [0.5]]), "trace_share": 1.0},
    )
    yield Call(noise.StateScale, lambda: {"fn": lambda x: 1 + x**2, "dim": 2, "noise_dim": 2})
    for value in (0.5, jnp.array([1.0, 0.5]), jnp.eye(2), noise.ScalarScale(jnp.asarray(0.5))):
        yield Call(
            noise.as_scale,
            lambda value=value: {"value": value, "dim": 2},
            also={"value": ("scale",)},
            fine=SCALES,
        )
    for value in (0.5, jnp.array([1.0, 0.5]), jnp.eye(2)):
        matched = {"covariance": value, "driver": STABLE, "negative": "refuse"}
        yield Call(noise.covariance_scale, lambda matched=matched: matched, host=True, fine=VECTOR)
        root = {"name": "covariance", "value": value, "negative": "absolute"}
        yield Call(
            noise.covariance_root,
            lambda root=root: root,
            host=True,
            also={"value": ("covariance",)},
            fine=VECTOR,
        )
    aligned = {
        "landscape": WELL,
        "driver": STABLE,
        "batch_size": 32,
        "x": jnp.zeros(2),
        "negative": "absolute",
    }
    yield Call(noise.hessian_aligned, lambda: aligned, host=True)
    yield Call(noise.hessian_scale, lambda: {"landscape": WELL, "driver": STABLE, "batch_size": 32})
    minibatch = {
        "gradients": GRADIENTS,
        "driver": STABLE,
        "batch_size": 2,
        "replacement": True,
        "rank": 1,
    }
    yield Call(noise.minibatch_scale, lambda: minibatch, host=True)
    yield Call(
        noise.minibatch_state_scale,
        lambda: {
            "example_gradients": lambda x: GRADIENTS + x[None],
            "n": 4,
            "dim": 2,
            "driver": STABLE,
            "batch_size": 2,
        },
    )
    yield Call(
        noise.trace_matched,
        lambda: {"scale": jnp.array([1.0, 0.5]), "dim": 2, "x": jnp.zeros(2)},
        fine=SCALES,
    )


def constants() -> Iterator[Call | Exempt]:
    yield Call(noise.boundary_shift, lambda: {"alpha": 1.5}, host=True)
    yield Call(noise.levy_constant, lambda: {"alpha": 1.5}, host=True)
    for function in (noise.small_jump_shift, noise.small_jump_variance, noise.total_tail):
        yield Call(function, lambda: {"driver": STABLE, "dim": 2}, host=True)
    yield Call(noise.unit_variance, lambda: {"driver": STABLE, "dim": 2}, host=True)
