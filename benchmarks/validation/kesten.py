"""Heavy tails out of Gaussian gradients: the tail index of SGD on linear regression, measured,
against Kesten's equation."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from check import Check
from scipy import integrate, stats

import levysde as ls
from levysde.random import split_uint64, step_words, trajectory_key
from levysde.theory import kesten_index

# Fixed before the first run. Hill's estimate from the largest 1000 of 400,000 independent
# trajectories: its own error is 3.2%; the power law holds in the limit only, so the row allows 12%.
TRAJECTORIES, ITERATIONS, LARGEST, ALLOWED = 400_000, 100, 1000, 0.12
SETTINGS = [
    (1, 1, 0.6),
    (1, 1, 1.0),
    (1, 4, 1.6),
    (1, 8, 1.8),
    (2, 2, 0.9),
    (3, 3, 1.0),
    (4, 4, 1.0),
    (5, 8, 1.2),
]


@partial(jax.jit, static_argnums=2)
def stationary(kernel, seed, num: int):
    """Positions `(num / 500, d, 500)` after ITERATIONS, from 0."""

    def block(ids):
        key = trajectory_key(seed, jnp.stack([ids, jnp.zeros_like(ids)]))

        def turn(i, x):
            words = step_words(key, jnp.full(ids.shape, i, jnp.uint32), kernel.words_per_step)
            return jax.vmap(kernel.step, in_axes=-1, out_axes=-1)(
                jax.lax.optimization_barrier(words), x
            )

        return jax.lax.fori_loop(0, ITERATIONS, turn, jnp.zeros((kernel.dim, len(ids))))

    return jax.lax.map(block, jnp.arange(num, dtype=jnp.uint32).reshape(-1, 500))


def hill(radius: np.ndarray) -> float:
    top = np.sort(radius)[-LARGEST - 1 :]
    return float(1 / np.mean(np.log(top[1:] / top[0])))


def mean_exit(radius: float) -> tuple[float, float]:
    """Mean iterations to leave (-radius, radius), d = 1, B = 1, eta = 1, and its standard error."""
    interval = ls.Ball(radius=radius, center=jnp.zeros(1))
    time = ls.simulate_escape(
        ls.LinearRegressionSGD(1, 1.0, 1), interval, jnp.zeros(1), num=10_000, seed=1
    ).time
    return float(time.mean()), float(time.std() / np.sqrt(len(time)))


def scalar_moment(alpha: float, c: float, batch: int) -> float:
    """`E |1 - c X|^alpha`, X chi-square of `batch` degrees of freedom."""

    def integrand(x):
        return np.abs(1 - c * x) ** alpha * stats.chi2.pdf(x, batch)

    pieces = [(0, 0.01), (0.01, 1 / c), (1 / c, 3 / c + 20), (3 / c + 20, np.inf)]
    return float(sum(integrate.quad(integrand, *piece, limit=200)[0] for piece in pieces))


def checks() -> Iterator[Check]:
    for dim, batch in ((1, 1), (3, 4), (50, 16)):
        eta = 2 * batch / (batch + dim + 1)
        value = kesten_index(dim=dim, learning_rate=eta, batch_size=batch)
        where = f"tail index at eta = 2B/(B + d + 1), d = {dim}, B = {batch}"
        yield Check("kesten_index", where, value, 2.0, 1e-8, "closed form of the second moment")
    for batch, eta in ((1, 0.3), (4, 2.0)):
        alpha, c = kesten_index(dim=1, learning_rate=eta, batch_size=batch), eta / batch
        moment = scalar_moment(alpha, c, batch)
        where = (
            f"E|1 - eta/B chi2_B|^alpha at the index {alpha:.6g}, d = 1, B = {batch}, eta = {eta:g}"
        )
        yield Check("kesten_index", where, moment, 1.0, 1e-6, "QUADPACK")
    for dim, batch, eta in SETTINGS:
        kernel = ls.LinearRegressionSGD(dim, eta, batch)
        x = np.asarray(stationary(kernel, jnp.asarray(split_uint64(1)), TRAJECTORIES), np.float64)
        index = hill(np.linalg.norm(x, axis=1).ravel())
        alpha = kesten_index(dim=dim, learning_rate=eta, batch_size=batch)
        where = (
            f"tail index measured (Hill, largest {LARGEST} of {TRAJECTORIES}), d = {dim}, B = "
            f"{batch}, eta = {eta:g}"
        )
        yield Check(
            "LinearRegressionSGD",
            where,
            index,
            alpha,
            ALLOWED,
            "Kesten's equation",
            index / LARGEST**0.5,
        )
    # a level r is first crossed after a mean of about r^alpha iterations
    (near, near_error), (far, far_error) = mean_exit(200.0), mean_exit(2000.0)
    slope, error = np.log10(far / near), np.hypot(near_error / near, far_error / far) / np.log(10)
    alpha = kesten_index(dim=1, learning_rate=1.0, batch_size=1)
    where = "log10 of the mean escape time at r = 2000 over that at r = 200, d = 1, B = 1, eta = 1"
    yield Check(
        "LinearRegressionSGD",
        where,
        float(slope),
        alpha,
        0.05,
        "r^alpha, Kesten's equation",
        float(error),
    )
