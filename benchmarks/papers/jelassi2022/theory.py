"""How far momentum carries a network along a feature that it has learned already.

Jelassi and Li (ICML 2022): examples share one feature w* at two margins, alpha (a fraction 1 - mu)
and beta << alpha (see `patch_data`). Gradient descent with averaged gradients, `g <- gamma g + (1 -
gamma) grad`, `W <- W - eta g`, is as gamma -> 1 a ball with friction: in time counted in steps

    W'' = -eta (1 - gamma) grad F - (1 - gamma) W'.

Along the feature the loss of the large-margin examples falls from `(1 - mu) ln 2` at `c = <w, w*>`
near 0 to nothing at c of order 1/alpha. That takes about `(eta (1 - gamma))^(-1/2)` steps and
friction acts over `1/(1 - gamma)`, so that in the limit no energy is lost on the way: `|c'|^2 / 2 =
eta (1 - gamma) (1 - mu) ln 2` at the bottom. On the flat the ball then rolls on for `|c'| / (1 -
gamma)`:

    |c| -> sqrt(2 ln2 (1 - mu) eta / (1 - gamma)),   c_r = <w_r, w*>, |c| its norm over the filters.

Corrections are of relative order `sqrt(1 - gamma)`. Where it rolls past 1/beta, the small-margin
examples are told by the feature too, the momentum having carried it there without their help: `beta
|c| >= 1`, that is `1 - gamma <= 2 ln2 (1 - mu) eta beta^2`. From there on their loss pushes too,
and |c| at fixed beta tends to the value without the factor 1 - mu.

What the ball does not reach at once is a race, between the feature and the examples' own noise xi
of norm n. In the time `t = eta * steps` a small-margin example that is not told yet pulls with
slope 1/2, all mu N of them together along the feature, `c' = (3/2) mu beta^3 c^2` from c0, the
overshoot, and each along its noise, `u' = (3/2) n^2 u^2 / N` from the largest `u0 = <w_r, xi>` of
the start. The noise is there at `t = 2 N / (3 n^2 u0)`; the feature is there first, `beta c(t) >=
1`, if

    1/c0 <= beta (1 + mu beta^2 N / (n^2 u0)),   1 - gamma <= 2 ln2 (1 - mu) eta beta^2 (1 + mu
                                                 beta^2 N / (n^2 u0))^2,

up to a constant of order 1: without the bracket nothing is gained by many examples of small margin,
with it the threshold goes as beta^2 to beta^6. It takes for granted that the ball has rolled out
long before the noise is there, `eta / (1 - gamma) << N / (n^2 u0)`; measured constants are .3 to .5
where it has and fall to .03 where it has not (docs/studies/jelassi2022.md).
"""

import math
from typing import Any

import numpy as np

from levysde import errors


def momentum_overshoot(*, learning_rate: Any, gamma: Any, small_fraction: Any = 0.0) -> float:
    """How far along the feature averaged gradients carry a network: `sqrt(2 ln2 (1 - mu) eta / (1 -
    gamma))`.

    A limit for gamma -> 1; below it the loss still pulls on the way, and the true value is larger.

    Args:
        learning_rate: eta, the step along the average of the gradients, positive; heavy ball's own
            is `eta (1 - gamma)`.
        gamma: weight of the old average, in [0, 1).
        small_fraction: mu, the share of the examples that do not push, in [0, 1); 0 by default.

    Returns:
        `|c|`, the norm over the filters of their weights along the feature.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX.

    Source:
        this package, from the equations of Jelassi and Li, ICML 2022, as `gamma` tends to 1;
        measured in docs/studies/jelassi2022.md.
    """
    eta = errors.positive_real("learning_rate", learning_rate)
    memory = _from_zero("gamma", gamma, "gamma=0.99")
    mu = _from_zero("small_fraction", small_fraction, "small_fraction=0.1")
    return math.sqrt(2 * math.log(2) * (1 - mu) * eta / (1 - memory))


def momentum_threshold(
    *, learning_rate: Any, small_margin: Any, small_fraction: Any = 0.0
) -> float:
    """The largest `1 - gamma` at which that overshoot tells the small-margin examples: `2 ln2 (1 -
    mu) eta beta^2`.

    Args:
        learning_rate: eta, as in `momentum_overshoot`, positive.
        small_margin: beta, the margin of the examples that are to be told, positive.
        small_fraction: mu, their share, in [0, 1); 0 by default.

    Returns:
        `1 - gamma`; momentum above `1 -` this is enough.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX.

    Source:
        this package, from the equations of Jelassi and Li, ICML 2022, as `gamma` tends to 1;
        measured in docs/studies/jelassi2022.md.
    """
    eta = errors.positive_real("learning_rate", learning_rate)
    beta = errors.positive_real("small_margin", small_margin)
    mu = _from_zero("small_fraction", small_fraction, "small_fraction=0.1")
    return 2 * math.log(2) * (1 - mu) * eta * beta**2


def memorization_threshold(
    *,
    learning_rate: Any,
    small_margin: Any,
    small_fraction: Any,
    examples: Any,
    noise_norm: Any,
    init_scale: Any,
    chances: Any = 20,
) -> float:
    """The largest `1 - gamma` at which the small-margin examples are told by the feature before
    their noise tells them.

    A race, `2 ln2 (1 - mu) eta beta^2 (1 + mu beta^2 N / (n^2 u0))^2`, right in its shape and to a
    factor of order 1. u0 is the mean of the largest of `chances` normal numbers of standard
    deviation `init_scale * noise_norm`.

    Args:
        learning_rate: eta, as in `momentum_overshoot`, positive.
        small_margin: beta, the margin of the examples that are to be told, positive.
        small_fraction: mu, their share, in [0, 1).
        examples: N, how many examples there are.
        noise_norm: n, norm of a noise patch, positive; `noise sqrt(dim)` of `patch_data`.
        init_scale: standard deviation of a starting weight, positive.
        chances: inner products of an example's noise with the start: filters times noise patches; 2
            or more, 20 by default.

    Returns:
        `1 - gamma`.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX.

    Source:
        this package, from the equations of Jelassi and Li, ICML 2022, as `gamma` tends to 1;
        measured in docs/studies/jelassi2022.md.
    """
    plain = momentum_threshold(
        learning_rate=learning_rate, small_margin=small_margin, small_fraction=small_fraction
    )
    beta, mu = float(small_margin), float(small_fraction)
    count = errors.integer("examples", examples)
    norm = errors.positive_real("noise_norm", noise_norm)
    first = errors.positive_real("init_scale", init_scale) * norm * _largest_normal(chances)
    return plain * (1 + mu * beta**2 * count / (norm**2 * first)) ** 2


def _largest_normal(chances: Any) -> float:
    """The mean of the largest of so many standard normal numbers."""
    from scipy.special import log_ndtr  # slow to import

    count = errors.integer("chances", chances, low=2)
    x = np.linspace(-10, 10, 4001)
    # by parts: its distribution function is 1 at 10
    return float(10 - np.trapezoid(np.exp(count * log_ndtr(x)), x))


def _from_zero(name: str, value: Any, example: str) -> float:
    number = errors.real(name, value, example)
    if not 0 <= number < 1:
        raise ValueError(
            f"{name} must be at least 0 and below 1, not {value!r}. For example {example}."
        )
    return number
