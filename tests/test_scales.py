"""Scales are the linear maps they say they are, in the working precision, and refuse what does not fit."""

import jax.numpy as jnp
import numpy as np
import pytest

from levysde.noise import DenseScale, DiagonalScale, ScalarScale, as_scale

MATRIX = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [0.0, 0.0, 2.0]])
CASES = {
    "identity": (None, ScalarScale, np.eye(3)),
    "int": (2, ScalarScale, 2 * np.eye(3)),
    "scalar": (0.5, ScalarScale, 0.5 * np.eye(3)),
    "diagonal": ([1.0, 2.0, -3.0], DiagonalScale, np.diag([1.0, 2.0, -3.0])),
    "dense": (MATRIX, DenseScale, MATRIX),
}


@pytest.mark.parametrize("case", CASES)
def test_scale_is_its_matrix(case, dtype):
    value, cls, matrix = CASES[case]
    scale = as_scale(value, 3)
    assert type(scale) is cls
    for y in np.random.default_rng(0).normal(size=(5, 3)):
        scaled = scale.apply(jnp.asarray(y), jnp.zeros(3))
        assert scaled.dtype == dtype
        np.testing.assert_allclose(scaled, matrix @ y, rtol=1e-12 if dtype == jnp.float64 else 2e-6, atol=1e-6)


def test_a_scale_passes_through():
    scale = DiagonalScale(jnp.ones(2))
    assert as_scale(scale, 2) is scale


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones(4), ValueError, r"shape \(4,\), which does not fit d = 3"),
        (np.ones((3, 4)), ValueError, r"shape \(3, 4\), which does not fit d = 3"),
        (np.ones((1, 1)), ValueError, r"does not fit d = 3"),
        (0.0, ValueError, "zero throughout"),
        (np.zeros((3, 3)), ValueError, "zero throughout"),
        ([1.0, np.nan, 1.0], ValueError, "must be finite"),
        (np.inf, ValueError, "must be finite"),
        ("big", TypeError, "must be a number or an array"),
        ([[1.0], [1.0, 2.0]], TypeError, "must be a number or an array"),
        (np.eye(3) * 1j, TypeError, "dtype is complex128"),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(value, error, message):
    with pytest.raises(error, match=message) as caught:
        as_scale(value, 3)
    assert "3 factors, or a 3 x 3 matrix" in str(caught.value)
