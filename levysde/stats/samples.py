"""What every estimator here checks before it looks at a sample. Host side, float64."""

import numpy as np

from levysde import errors
from levysde.errors import Checked


def sample(x: Checked, *, vectors: bool = False, least: int = 1) -> np.ndarray:
    """`x` as finite float64 of shape `(n,)`, or `(n, d)` too where `vectors`, with n at least `least`; else an error."""
    if errors.is_traced(x):
        raise TypeError("x is traced by JAX, and estimators run on the host. Call them outside jit, vmap and grad.")
    array = np.asarray(x)
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"x must hold real numbers, not {array.dtype}. Give for example a NumPy array of floats.")
    array = array.astype(float)
    allowed = (1, 2) if vectors else (1,)
    if array.ndim not in allowed or not np.isfinite(array).all():
        shapes = "(n,) or (n, d)" if vectors else "(n,)"
        advice = "Leave out rows that are not finite." if array.ndim in allowed else "Give one coordinate: x[:, 0]."
        raise ValueError(f"x must be finite and of shape {shapes}, not of shape {array.shape}. {advice}")
    if len(array) < least or 0 in array.shape:
        raise ValueError(f"x has shape {array.shape}; at least {least} values are needed here. Give more.")
    return array


def sizes(x: np.ndarray) -> np.ndarray:
    """`|x|`, Euclidean norms where x holds vectors: `(n,)`."""
    return np.abs(x) if x.ndim == 1 else np.sqrt((x * x).sum(1))
