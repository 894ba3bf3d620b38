"""Checks of what a user passes in, made before anything is compiled.

Every message says what is wrong, shows the value, and says how to fix it. Values inside a JAX
transformation (tracers) carry no number to look at, so only their shapes are checked.
"""

import math
import numbers
import os
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from levysde.errors.examples import EXAMPLES
from levysde.errors.processes import check_process

Word = TypeVar("Word", bound=str)

_LARGEST = 2**63 - 1  # of an integer that arrays can hold
_HUGE = 1e75  # of a number whose powers float64 still holds


def is_traced(value: Any) -> bool:
    """Whether a value is inside a JAX transformation, and so has no number to look at."""
    return isinstance(value, Tracer)


def shown(value: Any) -> str:
    """`repr(value)` for a message, cut to one line of at most 300 characters."""
    try:
        text = repr(value)
    # an integer of more than 4300 digits has no repr, and a custom class may fail
    except Exception:
        return f"an object of type {type(value).__name__}"
    first = text.split("\n", 1)[0][:300]
    return text if first == text else f"{first}..."


def _hint(name: str, example: str) -> str:
    """The last sentence of a message: `example`, by default the one of the table `EXAMPLES`."""
    return f"For example {example or f'{name}={EXAMPLES[name]}'}."


def concrete(name: str, value: Any) -> Any:
    """`value`, unless it or a part of it is traced: for what is computed on the host, by looking at
    numbers."""
    if any(is_traced(leaf) for leaf in jax.tree.leaves(value)):
        raise TypeError(
            f"{name} is traced by JAX, but this is computed on the host, from plain numbers. "
            "Call it outside jit, vmap and grad."
        )
    return value


def numeric(
    name: str,
    value: Any,
    example: str = "",
    *,
    kinds: str = "fiu",
    what: str = "a number or an array of real numbers",
) -> np.ndarray:
    """`value` as an array whose dtype is of one of `kinds`, in a precision of its own, or an error
    that names the argument."""
    if value is None or isinstance(value, str | bytes):
        raise TypeError(f"{name} must be {what}, not {shown(value)}. {_hint(name, example)}")
    value = unmasked(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in kinds and array.dtype.name != "bfloat16":
            raise TypeError(_gaps(array) or f"its dtype is {array.dtype}")
        return array
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be {what}, not {shown(value)} ({error}). {_hint(name, example)}"
        ) from None


def unmasked(name: str, value: Any) -> Any:
    """`value`, unless it holds masked values: NumPy drops the mask of an array that it converts,
    and they would count."""
    parts = value if isinstance(value, list | tuple) else [value]
    masks = [np.ma.getmaskarray(part) for part in parts if isinstance(part, np.ma.MaskedArray)]
    masked = sum(int(mask.sum()) for mask in masks)
    if masked:
        total = sum(mask.size for mask in masks)
        raise ValueError(
            f"{name} holds masked values ({masked} of {total}), which count for nothing. Leave "
            f"them out before the call, with all that belongs to them: {name}[~{name}.mask]."
        )
    return value


def _gaps(array: np.ndarray) -> str:
    """How many values of an array of objects are missing (None, NaN, pandas' NA), and where the
    first is, or nothing."""
    if array.dtype.kind != "O" or not array.ndim:
        return ""
    missing = np.array([_is_missing(item) for item in array.flat], bool).reshape(array.shape)
    return f"{place_of_first(missing, 'are missing')}; leave them out" if missing.any() else ""


def _is_missing(item: Any) -> bool:
    """Whether an object stands for no value. Pandas' NA is known by having no truth value when
    compared with itself."""
    try:
        return item is None or bool(item != item)
    except TypeError:
        return True
    except ValueError:  # an array inside an array
        return False


def place_of_first(bad: np.ndarray, what: str) -> str:
    """How many of some values are bad, and where the first of them is: "2 of 5 values are missing,
    the first at index 3"."""
    first = np.argwhere(bad)[0].tolist()
    return (
        f"{int(bad.sum())} of {bad.size} values {what}, the first at index "
        f"{first[0] if len(first) == 1 else tuple(first)}"
    )


def _not_finite(name: str, array: np.ndarray, value: Any, example: str) -> ValueError:
    """The error for NaN or infinity: which, how many, where the first is."""
    if not array.ndim:
        return ValueError(f"{name} must be finite, not {shown(value)}. {_hint(name, example)}")
    bad = ~np.isfinite(array)
    where = place_of_first(bad, "are NaN" if np.isnan(array[bad]).all() else "are NaN or infinite")
    return ValueError(
        f"{name} must be finite, but {where}. Leave these out. {_hint(name, example)}"
    )


def as_array(name: str, value: Any, example: str = "") -> Array:
    """`value` as a strongly typed float array, or an error that names the argument."""
    if is_traced(value):
        return value
    check_process()  # in a forked process the next line may wait for ever
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
        return jnp.asarray(numeric(name, value, example), dtype=float)


def finite(name: str, value: Any, example: str = "", shape: tuple[int, ...] | None = None) -> Array:
    """A finite float array that is not empty, of `shape` when one is given. One that rounds to 0
    throughout is refused."""
    array = as_array(name, value, example)
    _check_shape(name, array, example, shape)
    if not is_traced(array) and not np.isfinite(np.asarray(array)).all():
        if np.isfinite(np.asarray(value, dtype=float)).all():
            raise ValueError(out_of_range(name, value, array))
        raise _not_finite(name, np.asarray(value, dtype=float), value, example)
    if not is_traced(array) and not np.any(np.asarray(array)) and np.any(np.asarray(value)):
        raise ValueError(out_of_range(name, value, array))
    return array


def _check_shape(
    name: str, array: Array | np.ndarray, example: str, shape: tuple[int, ...] | None
) -> None:
    """Not empty, and of `shape` when one is given."""
    if shape == () != array.shape:
        raise ValueError(
            f"{name} must be one number, not an array of shape {array.shape}. "
            + _hint(name, example)
        )
    if shape is not None and array.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, not {array.shape}. {_hint(name, example)}"
        )
    if not array.size:
        raise ValueError(f"{name} is empty: its shape is {array.shape}. {_hint(name, example)}")


def out_of_range(name: str, value: Any, array: Array) -> str:
    """The message for a number that JAX's floats do not hold."""
    return (
        f"{name} = {shown(value)} leaves the range of {array.dtype}. Rescale the problem, or "
        'switch JAX to float64 with jax.config.update("jax_enable_x64", True).'
    )


def positive(name: str, value: Any, example: str = "") -> Array:
    """A positive, finite scalar."""
    array = as_array(name, value, example)
    _check_shape(name, array, example, ())
    if not is_traced(array):
        number = float(np.asarray(value))
        if not (math.isfinite(number) and number > 0):
            raise ValueError(
                f"{name} must be positive and finite, not {shown(value)}. {_hint(name, example)}"
            )
        if not 0 < float(array) < math.inf:
            raise ValueError(out_of_range(name, value, array))
    return array


def nonnegative(name: str, value: Any, example: str = "") -> Array:
    """A finite scalar, zero or positive."""
    array = finite(name, value, example, ())
    if not is_traced(array) and float(array) < 0:
        raise ValueError(f"{name} must not be negative, but is {shown(value)}. Give 0 or more.")
    return array


def reals(
    name: str, value: Any, example: str = "", shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """A finite array in float64 that is not empty, of `shape` when one is given, for what is
    computed on the host."""
    array = numeric(name, concrete(name, value), example).astype(np.float64)
    _check_shape(name, array, example, shape)
    if not np.isfinite(array).all():
        raise _not_finite(name, array, value, example)
    return array


def real(name: str, value: Any, example: str = "") -> float:
    """A finite number in float64, for what is computed on the host."""
    number = float(reals(name, value, example, ()))
    if abs(number) > _HUGE:
        raise ValueError(
            f"{name} = {shown(value)} is beyond {_HUGE:g}, where powers leave float64. Rescale the "
            "problem."
        )
    return number


def positive_real(name: str, value: Any, example: str = "") -> float:
    """A positive number in float64, for what is computed on the host."""
    number = real(name, value, example)
    if not number > 0:
        raise ValueError(
            f"{name} must be positive and finite, not {shown(value)}. {_hint(name, example)}"
        )
    if number < 1 / _HUGE:
        raise ValueError(
            f"{name} = {shown(value)} is below {1 / _HUGE:g}, where powers leave float64. Rescale "
            "the problem."
        )
    return number


def fraction(name: str, value: Any, example: str = "") -> float:
    """A number strictly between 0 and 1."""
    number = real(name, value, example)
    if not 0 < number < 1:
        raise ValueError(
            f"{name} must lie strictly between 0 and 1, not {shown(value)}. {_hint(name, example)}"
        )
    return number


def integer(name: str, value: Any, example: str = "", *, low: int = 1, high: int = _LARGEST) -> int:
    """An integer in `[low, high]`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, not {shown(value)}. {_hint(name, example)}")
    if not low <= int(value) <= high:
        limits = (
            f"at least {low}" if high == _LARGEST and int(value) < low else f"from {low} to {high}"
        )
        raise ValueError(f"{name} must be {limits}, not {shown(value)}. {_hint(name, example)}")
    return int(value)


def choice(name: str, value: Any, allowed: tuple[Word, ...]) -> Word:
    """One of the words `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(
            f"{name} must be {' or '.join(repr(a) for a in allowed)}, not {shown(value)}.".replace(
                "'", '"'
            )
        )
    return cast(Word, value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}.")
    return value


def word(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f'{name} must be a word, not {shown(value)}. For example {name}="text".')
    return value


def instance(name: str, value: Any, kind: Any, example: str = "") -> Any:
    """An object of `kind`, a class or a union of some."""
    if not isinstance(value, kind):
        names = ["None" if k is NoneType else k.__name__ for k in get_args(kind) or (kind,)]
        wanted = " or ".join(
            n if n == "None" else f"{'an' if n[0] in 'AEIOU' else 'a'} {n}" for n in names
        )
        raise TypeError(f"{name} must be {wanted}, not {shown(value)}. {_hint(name, example)}")
    return value


def several(name: str, values: Any, kind: Any, example: str = "") -> Any:
    """A tuple or a list of objects of `kind`."""
    if not isinstance(values, tuple | list) or not all(isinstance(value, kind) for value in values):
        raise TypeError(
            f"{name} must be a tuple, each of its items a {kind.__name__}, not {shown(values)}. "
            + _hint(name, example)
        )
    return values


def function(name: str, value: Any, example: str = "") -> Any:
    """Something to call, and no class."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be a function, not {shown(value)}. {_hint(name, example)}")
    return value


def _is_key(value: Any) -> bool:
    """Whether a value is keys of `jax.random`, of either type and any shape."""
    return isinstance(value, jax.Array) and (
        bool(jnp.issubdtype(value.dtype, jax.dtypes.prng_key))
        or (value.dtype == jnp.uint32 and value.ndim > 0)
    )


def random_key(value: Any) -> Any:
    """One key of `jax.random`, from a seed: a key, which may be traced, or an integer."""
    if not _is_key(value):
        number = integer("seed", value, "seed=0", low=0, high=2**64 - 1)
        words = np.array([number >> 32, number & 0xFFFFFFFF], np.uint32)
        return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
    typed = value.dtype != jnp.uint32
    if value.shape not in ([()] if typed else [(2,), (4,)]):
        raise ValueError(
            f"seed must be an integer or one key of jax.random, not {value.dtype} of shape "
            f"{value.shape}. Map over several keys by jax.vmap."
        )
    return value


def seed(value: Any) -> int:
    """A seed: an integer of at most 64 bits, hashed whole, or a key of `jax.random` of 64 bits."""
    if not _is_key(value):
        return integer("seed", value, "seed=0", low=0, high=2**64 - 1)
    key = random_key(concrete("seed", value))
    words = np.asarray(key if key.dtype == jnp.uint32 else jax.random.key_data(key)).tolist()
    if len(words) != 2:
        raise ValueError(
            f"seed is a key of {32 * len(words)} bits, and a seed has 64. Give a key of the "
            "implementation threefry2x32, as jax.random.key(0) makes by default, or an integer."
        )
    return words[0] << 32 | words[1]


def stability_index(value: Any) -> Array:
    """The stability index alpha, in (0, 2]."""
    alpha = positive("alpha", value)
    if not is_traced(alpha) and float(np.asarray(value)) > 2:
        raise ValueError(
            f"alpha must lie in (0, 2], not {shown(value)}: no stable law has an index above 2. "
            "For example alpha=1.5; alpha=2 is Gaussian."
        )
    return alpha


def real_index(value: Any) -> float:
    """The stability index as a float64 number, for what is computed on the host."""
    stability_index(concrete("alpha", value))
    return float(np.asarray(value))


def described(error: Exception) -> str:
    """The class and message of an error; the message of a KeyError alone is only the key."""
    return f"{type(error).__name__}: {error}"


def outcome(
    name: str,
    fn: Any,
    *arguments: Any,
    example: str = "",
    shape: tuple[int, ...] = (),
    what: str = "",
) -> Any:
    """The shapes of what a user's function returns for arguments of these shapes, or an error that
    says how it fails, or that it must return `what`, a real array of `shape`."""
    try:
        out = jax.eval_shape(fn, *arguments)
    except Exception as error:  # it may raise anything
        shapes = ", ".join(str(getattr(argument, "shape", argument)) for argument in arguments)
        raise TypeError(
            f"{name} fails for arguments of shape {shapes}: {described(error)}\nWrite it with "
            f"jax.numpy. {_hint(name, example)}"
        ) from None
    fits = getattr(out, "shape", None) == shape and jnp.issubdtype(out.dtype, jnp.floating)
    if what and not fits:
        raise TypeError(f"{name} must return {what}, not {out}. {_hint(name, example)}")
    return out


def writable(name: str, path: Any) -> Path:
    """A file path that can be written to; its folder is made when missing."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f'{name} must be a path, not {shown(path)}. For example {name}="run.npz".')
    path = Path(path)
    try:
        path = path.expanduser()
        if path.is_dir():
            raise OSError("it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".{path.name}.{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    # also a zero byte in the path, or a home that is not known
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} = {str(path)!r} cannot be written ({error}). Give a path in a folder you own."
        ) from None
    return path


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    """The error, to be raised, that names the extra to install."""
    return ImportError(
        f'{purpose} needs {package}, which is not installed. Type: pip install "levysde[{extra}]"'
    )
