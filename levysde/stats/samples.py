"""What every estimator here checks before it looks at a sample. Host side, float64."""

import numpy as np

from levysde import errors
from levysde.errors import Checked


def sample(x: Checked, *, name: str = "x", vectors: bool = False, least: int = 1) -> np.ndarray:
    """`x` as finite float64 of shape `(n,)`, or `(n, d)` too where `vectors`, with n at least `least`; else an error."""
    array = errors.reals(name, x, f"{name}=np.random.default_rng(0).normal(size=1000)")
    if array.ndim not in ((1, 2) if vectors else (1,)):
        shapes = "(n,) or (n, d)" if vectors else "(n,)"
        advice = f" Give one coordinate: {name}[:, 0]." if array.ndim == 2 else ""
        raise ValueError(f"{name} must have shape {shapes}, not {array.shape}.{advice}")
    if len(array) < least:
        raise ValueError(f"{name} has shape {array.shape}; at least {least} values are needed here. Give more.")
    return array


def sizes(x: np.ndarray) -> np.ndarray:
    """`|x|`, Euclidean norms where x holds vectors: `(n,)`."""
    return np.abs(x) if x.ndim == 1 else np.sqrt((x * x).sum(1))
