"""Values to call a public name with that are wrong, or odd, for an argument; and what came of the
call.

What an argument wants is read off the value that works (`tests/calls`). Each odd value has a kind,
by which a table can say that it is fine there, and a verdict fixed beforehand: it must be refused,
it must work, or either will do.
"""

import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
from calls import Call
from hypothesis import strategies as st

import levysde

PACKAGE = str(Path(levysde.__file__).parent)
TESTS = str(Path(__file__).parent)


@dataclass(frozen=True)
class Odd:
    """A value of some kind; `verdict` is "refuse", "work" or "either"."""

    kind: str
    value: Any
    verdict: str

    def __repr__(self) -> str:
        return f"{self.kind} ({self.verdict}): {str(self.value)[:80]}"


class Stranger:
    """An object of no use to anybody."""


def want(value: Any) -> str:
    """What an argument wants, from a value that works."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "count"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "word"
    if isinstance(value, jax.Array | np.ndarray):
        return "array" if value.dtype.kind in "fiu" else "other"
    if type(value).__module__.startswith("levysde"):
        return "part"
    return "function" if callable(value) and not isinstance(value, type) else "other"


def fixed(kind: str, values: Mapping[str, Any], verdict: str) -> list[st.SearchStrategy[Odd]]:
    return [st.just(Odd(name, value, verdict)) for name, value in values.items()]


def numbers(verdict: str) -> st.SearchStrategy[Odd]:
    return st.floats(allow_nan=False).map(lambda x: Odd("float", x, verdict))


def texts(verdict: str) -> st.SearchStrategy[Odd]:
    return st.text(max_size=8).map(lambda x: Odd("text", x, verdict))


def arrays_of_wrong_kind(shape: tuple[int, ...]) -> st.SearchStrategy[Odd]:
    """Of the right shape, but complex, of strings or of objects."""
    dtypes = st.sampled_from([np.complex64, "U3", object])
    filled = dtypes.flatmap(
        lambda d: st.just(np.full(shape, "a" if d == "U3" else None if d is object else 1j, d))
    )
    return filled.map(lambda x: Odd("array of " + str(x.dtype), x, "refuse"))


def with_a_hole(good: np.ndarray) -> st.SearchStrategy[Odd]:
    """The good array with NaN or an infinity at a random place."""
    place = st.integers(0, max(good.size - 1, 0))

    def spoilt(where: int, hole: float) -> Odd:
        array = np.array(good, dtype=float)
        array.flat[where] = hole
        return Odd("nan inside" if math.isnan(hole) else "inf inside", array, "refuse")

    return st.builds(spoilt, place, st.sampled_from([math.nan, math.inf, -math.inf]))


def other_shapes(good: np.ndarray) -> st.SearchStrategy[Odd]:
    """Finite arrays of another shape, empty ones among them: refused where they are empty or have
    two axes too many."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=good.ndim + 2, min_side=0, max_side=4)

    def odd(shape: tuple[int, ...]) -> Odd:
        hopeless = 0 in shape or len(shape) > good.ndim + 1
        return Odd(
            "empty" if 0 in shape else "shape", np.ones(shape), "refuse" if hopeless else "either"
        )

    return shapes.filter(lambda shape: shape != good.shape).map(odd)


def odd_values(good: Any, *, optional: bool, host: bool) -> st.SearchStrategy[Odd]:
    """Odd values for an argument for which `good` works; `optional` if None may stand for it."""
    wanted = want(good)
    none = [] if optional else fixed("none", {"none": None}, "refuse")
    objects = fixed("object", {"object": Stranger(), "dict": {"a": 1}, "class": Stranger}, "refuse")
    arrays = [
        st.just(Odd("several", np.ones(3), "refuse")),
        st.just(Odd("empty", np.ones(0), "refuse")),
    ]
    odd_number = fixed(
        "", {"nan": math.nan, "complex": 1 + 2j, "string": "one", "list of words": ["a"]}, "refuse"
    )
    traced = [st.just(Odd("traced", "traced", "refuse" if host else "either"))]
    if wanted == "flag":
        return st.one_of(*none, *objects, *arrays, *odd_number, texts("refuse"), numbers("refuse"))
    if wanted == "count":
        more = fixed("", {"half": 1.5, "inf": math.inf, "negative": -1, "huge": 10**400}, "refuse")
        more += fixed("", {"traced": "traced"}, "refuse")
        return st.one_of(*none, *objects, *arrays, *odd_number, *more, texts("refuse"))
    if wanted == "number":
        more = fixed(
            "",
            {"inf": math.inf, "minus inf": -math.inf, "zero": 0, "true": True, "huge": 10**400},
            "either",
        )
        more += fixed("", {"float64": np.float64(good), "float32": np.float32(good)}, "work")
        more += [st.just(Odd("0-d array", np.asarray(good), "work"))]
        return st.one_of(
            *none,
            *objects,
            *arrays,
            *odd_number,
            *more,
            *traced,
            texts("refuse"),
            numbers("either"),
        )
    if wanted == "word":
        return st.one_of(*none, *objects, *arrays, numbers("refuse"), texts("either"))
    if wanted == "array":
        array = np.asarray(good)
        more = fixed(
            "", {"string": "one", "list of words": ["a"], "ragged": [[1.0], [1.0, 2.0]]}, "refuse"
        )
        more += fixed(
            "", {"float64": np.asarray(array, dtype=np.float64), "list": array.tolist()}, "work"
        )
        spoilt = [with_a_hole(array)] if array.size and array.dtype.kind == "f" else []
        shapes = [arrays_of_wrong_kind(array.shape), other_shapes(array)]
        return st.one_of(*none, *objects, *more, *spoilt, *shapes, *traced, texts("refuse"))
    if wanted == "part":
        return st.one_of(*none, *objects, *arrays, *odd_number, texts("refuse"), numbers("refuse"))
    if wanted == "function":
        return st.one_of(
            *none, *objects[:2], *arrays, *odd_number, texts("refuse"), numbers("refuse")
        )
    return st.one_of(*none, *fixed("", {"object": Stranger(), "nan": math.nan}, "refuse"))


def called(target: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """`target` with its arguments by name, or in their order where it takes any number of them."""
    places, names = [], dict(arguments)
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            given = names.pop(parameter.name)
            places += given if isinstance(given, tuple) else [given]
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            places.append(names.pop(parameter.name))
    return put_away(target(*places, **names))


def put_away(result: Any) -> Any:
    """A result, with its figures closed and its animation, which nobody shows, told so."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if hasattr(result, "_draw_was_started"):
        result._draw_was_started = True
    return result


def called_with(call: Call, argument: str, odd: Odd) -> Any:
    arguments = dict(call.arguments)
    if odd.kind != "traced":
        return called(call.target, arguments | {argument: odd.value})
    return jax.eval_shape(
        lambda value: (called(call.target, arguments | {argument: value}), jnp.zeros(()))[1],
        jnp.asarray(arguments[argument]),
    )


def is_nan(value: Any) -> bool:
    """Whether a bare number or array came out as NaN."""
    if not isinstance(value, float | np.floating | np.ndarray | jax.Array) or isinstance(
        value, jax.core.Tracer
    ):
        return False
    array = np.asarray(value)
    return array.dtype.kind == "f" and array.size > 0 and bool(np.isnan(array).all())


def why_wrong(call: Call, argument: str, odd: Odd) -> str | None:
    """What is wrong with how `call` takes the odd value for its argument, or None; by its
    verdict."""
    try:
        result = called_with(call, argument, odd)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = (
            f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: "
            f"{str(error)[:300]}"
        )
        if not isinstance(error, ValueError | TypeError) or type(error).__module__.split(".")[
            0
        ] in ("jax", "jaxlib"):
            return f"raised {said}"
        if not place.filename.startswith((PACKAGE, TESTS)):
            return f"raised outside levysde: {said}"
        names = (argument, *call.also.get(argument, ()))
        if not any(
            re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9])", str(error))
            for name in names
        ):
            return f"message does not name {argument}: {said}"
        return f"refused what must work: {said}" if odd.verdict == "work" else None
    if odd.verdict == "refuse":
        return f"silently made {str(result)[:80]}"
    return "silently made NaN" if is_nan(result) else None
