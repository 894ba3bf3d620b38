"""Landscapes: stationary points, depths and curvatures against published values and against other
methods."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from check import Check

import levysde as ls
from levysde.networks import refine, train


def checks() -> Iterator[Check]:
    yield from synthetic()
    yield from factorised()
    yield from on_data()


def synthetic() -> Iterator[Check]:
    tang = ls.StyblinskiTang(10)
    yield Check(
        "StyblinskiTang",
        "lowest loss, d = 10",
        float(tang.value(tang.minimum)),
        -391.6616,
        1e-5,
        "published value",
    )
    brown = ls.MuellerBrown()
    published = [("minimum", -146.6995), ("minimum", -108.1667), ("minimum", -80.7678)]
    published += [("saddle", -40.6648), ("saddle", -72.2489)]
    points = [*brown.minima, *brown.saddles]
    for (kind, reference), x in zip(published, points, strict=True):
        yield Check(
            "MuellerBrown",
            f"loss at a {kind}",
            float(brown.value(x)),
            reference,
            2e-5,
            "published value",
        )
    from scipy.optimize import minimize_scalar

    ripples = ls.Rastrigin(2)
    box = {"bounds": (0.9, 1.1), "method": "bounded", "options": {"xatol": 1e-12}}
    found = minimize_scalar(lambda u: 10 + u * u - 10 * np.cos(2 * np.pi * u), **box)
    value = float(ripples.value(ripples.minima[1]))
    yield Check(
        "Rastrigin",
        "loss at the nearest other minimum",
        value,
        found.fun,
        1e-5,
        "scipy.optimize, float64",
    )
    well = ls.sharp_flat(
        sharp_curvature=16.0, flat_curvature=1.5, barriers=(1.0, 0.7), distances=(0.8, 2.0)
    )
    for name, x, reference in (("sharp", well.minima[0], 16.0), ("flat", well.minima[1], 1.5)):
        curvature = float(well.hessian(x)[0, 0])
        yield Check(
            "WellChain",
            f"curvature of the {name} well of sharp_flat",
            curvature,
            reference,
            1e-4,
            "the curvature or barrier that was requested",
        )
    depth = float(well.value(well.saddles[0]) - well.value(well.minima[1]))
    yield Check(
        "WellChain",
        "barrier from the flat well",
        depth,
        0.7,
        1e-5,
        "the curvature or barrier that was requested",
    )
    valley = ls.AsymmetricValley(left=8.0, right=0.5, smoothing=0.2)
    for u in (-3.0, 3.0):
        grid = np.linspace(0, u, 200_001)
        bend = 4.25 - 3.75 * grid / np.sqrt(grid**2 + 0.04)
        reference = float(np.trapezoid((u - grid) * bend, grid))  # F'' integrated twice
        value = float(valley.value(jnp.array([u])))
        yield Check(
            "AsymmetricValley",
            f"loss at {u:g}",
            value,
            reference,
            1e-5,
            "its curvature, integrated twice",
        )


def factorised() -> Iterator[Check]:
    target = jnp.array([[2.0, 0.5, 0.0], [0.0, 1.0, -0.3]])
    deep = ls.DeepLinear((3, 2, 3, 2), target, weight_decay=0.1)
    rng = np.random.default_rng(0)
    descend = jax.jit(
        lambda x: jax.lax.fori_loop(0, 20_000, lambda _, x: x - 0.003 * deep.gradient(x), x)
    )
    lowest = min(
        float(deep.value(descend(jnp.asarray(rng.normal(size=deep.dim), dtype=float))))
        for _ in range(8)
    )
    value = float(deep.value(deep.minimum))
    yield Check(
        "DeepLinear",
        "lowest loss, 3 layers, weight decay 0.1",
        value,
        lowest,
        1e-4,
        "gradient descent, 8 starts",
    )
    sensing = ls.MatrixSensing(5, rank=1, measurements=30)
    walk = jax.jit(
        lambda x: jax.lax.fori_loop(0, 20_000, lambda _, x: x - 0.1 * sensing.gradient(x), x)
    )
    end = np.asarray(walk(jnp.asarray(rng.normal(size=5), dtype=float)), float)
    truth = np.asarray(sensing.minimum, float)
    gap = float(np.abs(np.outer(end, end) - np.outer(truth, truth)).max())
    yield Check(
        "MatrixSensing",
        "U U' by descent from a random start, largest error",
        gap,
        0.0,
        1e-4,
        "the true matrix that was measured",
    )


def on_data() -> Iterator[Check]:
    from sklearn.linear_model import LogisticRegression

    decay = 0.05
    for make, name in (
        (ls.logistic_regression, "breast_cancer"),
        (ls.softmax_regression, "digits"),
    ):
        well = make(name, weight_decay=decay)
        features, labels = np.asarray(well.inputs, float), np.asarray(well.targets)
        wide = np.concatenate([np.ones((len(labels), 1)), features], 1)
        other = LogisticRegression(
            C=1 / (decay * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10_000
        )
        coefficients = other.fit(wide, labels).coef_.T.ravel()
        gap = float(np.abs(np.asarray(well.minimum, float) - coefficients).max())
        yield Check(
            make.__name__,
            f"weights on {name}, largest error",
            gap,
            0.0,
            1e-4,
            "scikit-learn's solver",
        )
    for optimiser in ("sgd", "adam"):
        start = ls.digits_cnn()
        rate = 0.1 if optimiser == "sgd" else 0.01
        minimum = refine(start, train(start, optimiser, seed=0, learning_rate=rate, epochs=300))
        norm, smallest = float(minimum.gradient_norm), float(minimum.smallest_eigenvalue)
        yield Check(
            "digits_cnn",
            f"1 if the smallest Hessian eigenvalue at the refined minimum ({optimiser}) is at "
            "least 0.02 times the weight decay",
            float(smallest >= 0.02 * 0.02),
            1.0,
            0.0,
            f"the eigenvalue is {smallest:.2e}, the weight decay 0.02",
        )
        yield Check(
            "digits_cnn",
            f"gradient norm after {optimiser} and refinement to a minimum",
            norm,
            0.0,
            1e-8,
            "0 at a minimum",
        )
