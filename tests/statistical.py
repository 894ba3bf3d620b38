"""How a random estimate is compared with a known number: no lotteries, and no bands too wide to
fail."""

import numpy as np

SIGMAS = 5.0  # a correct estimate fails once in 1.7 million comparisons


def assert_close(
    estimate: float, standard_error: float, expected: float, relative_error: float, what: str = ""
) -> None:
    """Asserts `estimate == expected` within five standard errors, by a run able to see
    `relative_error`.

    Fails when the difference exceeds five standard errors, and ALSO when five standard errors
    exceed `relative_error * |expected|`: such a run could not have noticed an error of that size,
    so passing says nothing.
    """
    where = f"{what}: " if what else ""
    assert np.isfinite(estimate), f"{where}the estimate is {estimate}"
    assert np.isfinite(standard_error), f"{where}the standard error is {standard_error}"
    assert standard_error > 0, (
        f"{where}the standard error is {standard_error}: nothing random was measured"
    )
    detectable = SIGMAS * standard_error
    assert detectable <= relative_error * abs(expected), (
        f"{where}no power: five standard errors are {detectable:.3g}, but an error of "
        f"{relative_error:.3g} x {abs(expected):.3g} was to be seen. Draw more."
    )
    error = abs(estimate - expected)
    assert error <= detectable, (
        f"{where}{estimate:.6g} +- {standard_error:.2g}, expected {expected:.6g}: off by "
        f"{error / standard_error:.1f} standard errors"
    )


def assert_mean(sample: np.ndarray, expected: float, relative_error: float, what: str = "") -> None:
    """`assert_close` for the mean of independent draws of finite variance."""
    sample = np.asarray(sample, dtype=np.float64).ravel()
    assert_close(
        sample.mean(), sample.std(ddof=1) / np.sqrt(sample.size), expected, relative_error, what
    )
