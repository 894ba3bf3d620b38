import numpy as np
import pytest
from statistical import assert_close, assert_mean


def test_accepts_within_five_standard_errors():
    assert_close(1.004, 0.001, 1.0, relative_error=0.01)


@pytest.mark.parametrize(
    ("estimate", "standard_error", "expected", "message"),
    [
        (1.006, 0.001, 1.0, "off by 6.0 standard errors"),
        (1.0, 0.003, 1.0, "no power"),  # right, but 1% could not have been seen
        (-1.0, 0.001, 1.0, "off by"),
        (np.nan, 0.001, 1.0, "the estimate is nan"),
        (1.0, np.inf, 1.0, "the standard error is inf"),
        (1.0, 0.0, 1.0, "nothing random"),
        (0.0, 0.001, 0.0, "no power"),  # nothing is relative to zero
    ],
)
def test_refuses(estimate, standard_error, expected, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(estimate, standard_error, expected, relative_error=0.01)


def test_mean_of_a_sample():
    sample = np.random.default_rng(0).normal(3.0, 1.0, 100_000)
    assert_mean(sample, 3.0, relative_error=0.01)
    with pytest.raises(AssertionError, match="off by"):
        assert_mean(sample, 3.03, relative_error=0.01)
    with pytest.raises(AssertionError, match="no power"):
        assert_mean(sample[:100], 3.0, relative_error=0.01)
