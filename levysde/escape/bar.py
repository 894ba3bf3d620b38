"""A progress bar by tqdm, which in a notebook wants ipywidgets and complains without them, wanted
or not."""

import warnings
from typing import Any


def progress_bar(
    total: int, unit: str, title: str, *, show: bool, done: int = 0, smoothing: float = 0.0
) -> Any:
    """The bar, silent unless `show`; of text where the notebook has no widgets."""
    from tqdm import TqdmWarning, std  # slow to import

    made = std.tqdm
    if show:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm as made
    return made(
        total=total, initial=done, unit=unit, disable=not show, desc=title, smoothing=smoothing
    )
