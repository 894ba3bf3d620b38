"""Images of patches that share one feature at two margins, and the network with cubic filters that
learns or memorises them.

    X = (X[1], ..., X[P]),   one patch c w* (|w*| = 1), the others N(0, sigma^2 (I - w* w*')),
    c = alpha y with probability 1 - mu (large margin), beta y with probability mu (small), y = -1
        or 1
    f_W(X) = sum_r sum_j <w_r, X[j]>^3,   loss log(1 + exp(-y f_W(X))), averaged, + weight_decay
                                          |W|^2 / 2

Every example can be told by the feature alone, and every training example by its own noise: which
of the two a network does with those of small margin depends on the optimiser (Jelassi and Li, ICML
2022).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from levysde import errors
from levysde.landscapes import NetworkLandscape, from_network
from levysde.parts import Part


class PatchData(Part):
    """Examples with one feature patch each. Made by `patch_data`.

    Attributes:
        patches: shape `(n, P, d)`.
        labels: -1 or 1, shape `(n,)`.
        small: which examples have the small margin.
        place: which patch holds the feature.
        direction: the feature `w*`, a unit vector of shape `(d,)`.
    """

    patches: Float[Array, "n p d"]
    labels: Float[Array, " n"]
    small: Bool[Array, " n"]
    place: Int[Array, " n"]
    direction: Float[Array, " d"]


def patch_data(
    num: Any = 200,
    *,
    dim: Any = 50,
    patches: Any = 3,
    large_margin: Any = 4.0,
    small_margin: Any = 0.3,
    small_fraction: Any = 0.1,
    noise: Any = 0.424,
    direction: Any = None,
    seed: Any = 0,
) -> PatchData:
    """Draw examples of the law at the top of this file.

    The same seed gives the same noise, places and labels whatever the margins, and nested sets of
    small-margin examples.

    Args:
        num: n, examples.
        dim: d, numbers in a patch, 2 or more.
        patches: P, patches in an example, 2 or more.
        large_margin: alpha, positive.
        small_margin: beta, positive.
        small_fraction: mu, in [0, 1].
        noise: sigma, positive, standard deviation of a coordinate of a noise patch; its norm is
            about `noise sqrt(dim)`.
        direction: `w*`, shape `(dim,)`, scaled to length 1; by default drawn by `seed`.
        seed: of everything.

    Returns:
        `PatchData`.

    Raises:
        ValueError, TypeError: an argument out of range or traced by JAX.

    Source:
        Jelassi and Li, ICML 2022.
    """
    num = errors.integer("num", num, "num=200")
    dim = errors.integer("dim", dim, "dim=50", low=2)
    patches = errors.integer("patches", patches, low=2)
    seed, direction = errors.seed(seed), errors.concrete("direction", direction)
    alpha, beta, sigma = (
        errors.positive(name, errors.concrete(name, value), f"{name}={example}")
        for name, value, example in (
            ("large_margin", large_margin, 4.0),
            ("small_margin", small_margin, 0.3),
            ("noise", noise, 0.424),
        )
    )
    mu = float(
        np.asarray(
            errors.finite(
                "small_fraction", errors.concrete("small_fraction", small_fraction), "0.1", ()
            )
        )
    )
    if not 0 <= mu <= 1:
        raise ValueError(
            f"small_fraction must lie in [0, 1], not {small_fraction!r}. Type small_fraction=0.1."
        )
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=dim)
    feature = drawn
    if direction is not None:
        feature = np.asarray(
            errors.finite("direction", direction, f"direction=jnp.ones({dim})", (dim,)), float
        )
    length = np.linalg.norm(feature)
    if not length > 0:
        raise ValueError(
            "direction must not be zero: it is the feature. Leave it out, or give a vector of some "
            "length."
        )
    feature = feature / length
    labels = rng.choice([-1.0, 1.0], size=num)
    place = rng.integers(patches, size=num)
    small = rng.random(num) < mu
    normal = rng.normal(size=(num, patches, dim))
    normal -= (normal @ feature)[..., None] * feature
    holds = np.arange(patches) == place[:, None]
    size = labels * np.where(small, float(beta), float(alpha))
    rows = np.where(holds[..., None], (size[:, None] * feature)[:, None], float(sigma) * normal)
    return PatchData(
        patches=jnp.asarray(rows, float),
        labels=jnp.asarray(labels, float),
        small=jnp.asarray(small),
        place=jnp.asarray(place, int),
        direction=jnp.asarray(feature, float),
    )


def cubic_patches(
    data: Any, *, filters: Any = 10, init_scale: Any = 0.05, weight_decay: Any = 0.0, seed: Any = 0
) -> NetworkLandscape:
    """The loss (nats) of the network with cubic filters on such data, over its `filters * d`
    weights.

    Args:
        data: from `patch_data`.
        filters: of the network.
        init_scale: standard deviation of a starting weight, positive.
        weight_decay: adds `weight_decay |W|^2 / 2`; 0 or positive. Without it there is no minimum:
            the loss goes to 0 far out.
        seed: of the start.

    Returns:
        A `NetworkLandscape`. Its marked point is its random start, independent `N(0,
        init_scale^2)`.

    Raises:
        ValueError, TypeError: `data` is something else, an argument out of range, or `init_scale`
            traced by JAX.

    Source:
        Jelassi and Li, ICML 2022.
    """
    if not isinstance(data, PatchData):
        raise TypeError(
            f"data must come from patch_data, not be {type(data).__name__}. Type "
            "cubic_patches(patch_data())."
        )
    filters = errors.integer("filters", filters)
    rng = np.random.default_rng(errors.seed(seed))
    errors.positive("init_scale", errors.concrete("init_scale", init_scale))
    scale = float(np.asarray(init_scale, jnp.result_type(float)))
    params = {"filters": scale * rng.normal(size=(filters, data.patches.shape[2]))}
    return from_network(
        _cubic_losses, params, data.patches, data.labels, weight_decay=weight_decay, batched=True
    )


def cubic_responses(
    filters: Float[Array, "m d"], patches: Float[Array, "n p d"]
) -> Float[Array, "n p"]:
    """`sum_r <w_r, X[j]>^3` of each patch; their sum over the patches is the network's output.

    Args:
        filters: `w_r`, shape `(m, d)`.
        patches: X, shape `(n, P, d)`.

    Returns:
        The responses, shape `(n, P)`.

    Source:
        Jelassi and Li, ICML 2022.
    """
    n, count, d = patches.shape
    inner = patches.reshape(n * count, d) @ filters.T
    return jnp.sum(inner * inner * inner, 1).reshape(n, count)


def _cubic_losses(params: Any, patches: Array, labels: Array) -> Array:
    return jax.nn.softplus(-labels * cubic_responses(params["filters"], patches).sum(1))
