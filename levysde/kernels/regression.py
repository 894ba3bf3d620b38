"""SGD on linear regression with fresh Gaussian inputs: heavy tails out of Gaussian gradients.

Each iteration sees B new pairs (a_i, y_i), `a_i ~ N(0, s^2 I)`, `y_i = a_i . x* + b_i`, label noise
`b_i ~ N(0, sigma^2)`, and descends the half mean square. In `x`, the error of the parameters (the
minimum is 0):

    x <- x - (eta/B) sum_i a_i (a_i . x - b_i) = M x + q,   M = I - (eta/B) sum_i a_i a_i'

The noise multiplies x, so the stationary law has a power tail, whose index
`levysde.theory.kesten_index` gives (Gurbuzbalaban, Simsekli, Zhu, ICML 2021; Hodgkinson, Mahoney,
ICML 2021; Kesten, Acta Math. 131, 1973).
"""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.protocols import Kernel, Point, State, Words, matvec
from levysde.random import normals
from levysde.types import Arg, Integer, Number


class LinearRegressionSGD(Kernel):
    """One-pass SGD on linear regression, in iterations; the state is the error of the parameters,
    `(d,)`.

    Args:
        dim: d, parameters.
        learning_rate: eta, positive.
        batch_size: B, fresh pairs an iteration.
        label_noise: sigma, standard deviation of the label noise; 0 leaves multiplicative noise
            only.
        input_scale: s, positive, standard deviation of an input's coordinate: the Hessian is
            `s^2 I`.

    Raises:
        ValueError, TypeError: a number out of range.

    Source:
        Gurbuzbalaban, Simsekli, Zhu, ICML 2021; Hodgkinson, Mahoney, ICML 2021.
    """

    learning_rate: Array
    label_noise: Array
    input_scale: Array
    dim: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    unit: str = eqx.field(static=True)

    def __init__(
        self,
        dim: Arg[Integer],
        learning_rate: Arg[Number],
        batch_size: Arg[Integer],
        *,
        label_noise: Arg[Number] = 1.0,
        input_scale: Arg[Number] = 1.0,
    ):
        self.dim = errors.integer("dim", dim)
        self.learning_rate = errors.positive("learning_rate", learning_rate)
        self.batch_size = errors.integer("batch_size", batch_size)
        self.label_noise = errors.nonnegative("label_noise", label_noise)
        self.input_scale = errors.positive("input_scale", input_scale)
        self.unit = "iterations"

    @property
    def words_per_init(self) -> int:
        return 0

    @property
    def words_per_step(self) -> int:
        return 2 * math.ceil(self.batch_size * (self.dim + 1) / 2)

    def init(self, x0: Point, words: Words) -> State:
        return x0

    def step(self, words: Words, state: Point) -> Point:
        batch = self.batch_size
        normal = normals(words, len(words), state.dtype)
        inputs = self.input_scale * normal[: batch * self.dim].reshape(batch, self.dim)
        labels = self.label_noise * normal[batch * self.dim : batch * (self.dim + 1)]
        residual = matvec(inputs, state) - labels
        return state - self.learning_rate / batch * jnp.sum(inputs * residual[:, None], 0)

    def position(self, state: Point) -> Point:
        return state

    def elapsed(self, state: Any, steps: Any) -> Any:
        return np.asarray(steps, np.float64)

    def steps_within(self, time: float) -> int:
        return max(1, math.ceil(time))

    def noise_directions(self) -> Float[Array, "m d"]:
        axes = jnp.eye(self.dim)
        return jnp.concatenate([axes, -axes])
