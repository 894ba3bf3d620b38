"""The tables of exact stable laws that come with the package (made by
`benchmarks/stable_quantiles.py`)."""

from functools import cache
from importlib.resources import files

import numpy as np


@cache
def stable_table() -> dict[str, np.ndarray]:
    """`alpha`, `beta`, `level`, `quantile`, `density`, `share`, `log_excess`, as described where
    they are made."""
    with (
        files("levysde.stats").joinpath("stable_quantiles.npz").open("rb") as file,
        np.load(file) as held,
    ):
        return {name: held[name] for name in held.files}
