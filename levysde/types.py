"""Types of arguments: what a type checker sees, and what the checks of `levysde.errors` accept at
run time."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, SupportsFloat, TypeVar

import numpy as np

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import TypeAliasType

    Arg = TypeAliasType("Arg", T, type_params=(T,))
else:

    class Arg:
        """`Arg[T]` is T for a type checker and Any at run time, so that a wrong argument gets the
        message of `levysde.errors`, which names the value and the remedy, and not that of a
        run-time type checker."""

        def __class_getitem__(cls, _: Any) -> Any:
            return Any


class SupportsArray(Protocol):
    """What NumPy turns into an array: JAX and NumPy arrays and their scalars, columns of pandas,
    tensors of PyTorch."""

    def __array__(self) -> np.ndarray: ...


Integer = int | np.integer
Seed = Integer | SupportsArray  # a key of `jax.random` too
Number = SupportsFloat  # int, float, NumPy scalar, 0-d array; no str, complex or list
Numbers = (
    SupportsArray
    | float
    | Sequence[SupportsFloat]
    | Sequence[SupportsArray]
    | Sequence[Sequence[SupportsFloat]]
)
PathLike = str | os.PathLike[str]
