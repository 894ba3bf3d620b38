"""Losses of classifiers, for many examples at once.

Classes on the first axis, examples on the last, where XLA vectorises: the other way round the sums
over a few classes take several times as long.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def softmax_cross_entropy(
    logits: Float[Array, "classes n"], labels: Int[Array, " n"]
) -> Float[Array, " n"]:
    """`-log softmax(logits)[label]` of each example, in nats."""
    chosen = jnp.arange(logits.shape[0])[:, None] == labels[None, :]
    return jax.nn.logsumexp(logits, axis=0) - jnp.sum(jnp.where(chosen, logits, 0), axis=0)
