"""A sweep as a TOML file: what to run, along which axes, with which seed.

    experiment = "escape"
    seed = 0

    [run]                                   # what all points share; the experiment's settings
    landscape = { name = "DoubleWell" }
    ...

    [grid]                                  # every combination; or [list], axes of one length
    alpha = [1.2, 1.5, 1.8]
    epsilon = { low = 0.05, high = 0.5, num = 4, spacing = "log" }

An axis is named by the path of a setting ("driver.alpha"), or by the last part of the path if it is
unique. A setting may refer to another: `dt = { of = "epsilon", times = 0.1, power = 1.0 }`.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from levysde import errors
from levysde.sweeps.experiment import Model, nearest
from levysde.types import Arg, PathLike

MOST_POINTS = 1_000_000
_FAULTS = 5  # shown at once
_DEEPEST = 20
_LONGEST = 500


class SpecError(ValueError):
    """A spec that cannot be run. The message names the field; long lines are cut."""

    def __init__(self, message: str):
        super().__init__(
            "\n".join(
                line if len(line) < _LONGEST else f"{line[:_LONGEST]} ..."
                for line in message.split("\n")
            )
        )


class Range(Model):
    """`num` values from `low` to `high`, both included."""

    low: float
    high: float
    num: Annotated[int, Field(ge=1, le=MOST_POINTS)]
    spacing: Literal["linear", "log"] = "linear"

    def values(self) -> list[float]:
        space = np.geomspace if self.spacing == "log" else np.linspace
        # rounded, so that the names and seeds of points do not depend on the last digits
        return [float(f"{v:.12g}") for v in space(self.low, self.high, self.num)]


class Reference(Model):
    """Another setting, times a factor, to a power: `times * of ** power`."""

    of: str
    times: float = 1.0
    power: float = 1.0


class Spec(Model):
    """A sweep.

    Attributes:
        title: title of the report.
        experiment: a registered name, or "module:Class" of an `Experiment`.
        seed: seed of the whole sweep, 0 to 2^63 - 1.
        coupled: whether all points share their noise. Otherwise the seed of a point is a hash of
            `seed` and the point's name.
        run: settings of the experiment.
        grid: axes; every combination of their values is a point.
        list: axes of equal length; their first values are a point, their second values the next
            point, and so on.
    """

    title: str = ""
    experiment: str = "escape"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    coupled: bool = False
    run: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Any] = Field(default_factory=dict)
    list: dict[str, Any] = Field(default_factory=dict)

    def canonical(self) -> str:
        """The spec as JSON, the same text for the same sweep. Axes keep their order, which is that
        of the store's dimensions."""
        table = self.model_dump()
        table["run"] = json.loads(json.dumps(table["run"], sort_keys=True))
        return json.dumps(table)


def read_spec(path: Arg[PathLike]) -> Spec:
    """The spec in a TOML file.

    Args:
        path: path of the file; or "main-job", a specification that ships with levysde.

    Returns:
        A `Spec`.

    Raises:
        SpecError: (a ValueError) a file that cannot be read, is not TOML, or has a wrong field.
    """
    if not isinstance(path, str | os.PathLike):
        raise SpecError(
            f"a spec is the path of a TOML file, not {errors.shown(path)}. For "
            'example "sweep.toml".'
        )
    if path == "main-job":
        path = Path(__file__).with_name("main_job.toml")
    try:
        text = Path(path).read_bytes().decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            f"the spec {str(path)!r} cannot be read ({reason}). Give the path of a TOML file."
        ) from None
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not TOML: {error}.") from None
    return as_spec(table)


def as_spec(table: Arg[Any]) -> Spec:
    """A spec from a table, as in the TOML file. Raises SpecError."""
    if isinstance(table, Spec):
        return table
    if not isinstance(table, dict):
        raise SpecError(
            f"a spec is a table, not {type(table).__name__}. For example {{'run': "
            f"..., 'grid': ...}}."
        )
    _check_leaves(table, ())
    spec = validated(Spec, table, ())
    if bool(spec.grid) == bool(spec.list):
        found = "both" if spec.grid else "neither"
        raise SpecError(
            "a sweep has its axes in [grid] (every combination) or in [list] (value by value), "
            f"not in {found}. For example [grid] and below it alpha = [1.2, 1.5]."
        )
    return spec


def validated(model: type[Any], table: Any, path: tuple[str, ...]) -> Any:
    """`model` filled from `table`. Raises a SpecError that names the path of each fault, and the
    nearest valid name."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        lines = [_fault(model, fault, path) for fault in error.errors()[:_FAULTS]]
        raise SpecError("\n".join(lines)) from None


def _fault(model: type[Any], fault: Any, path: tuple[str, ...]) -> str:
    where = ".".join([*path, *(str(part) for part in fault["loc"])]) or "the spec"
    if fault["type"] == "extra_forbidden":
        return (
            f"{where}: there is no such field.{nearest(str(fault['loc'][-1]), model.model_fields)}"
        )
    if fault["type"] == "missing":
        return f"{where}: this field is missing."
    shown = repr(fault["input"])
    return (
        f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not "
        f"{shown[:80]}{'...' * (len(shown) > 80)}."
    )


def _check_leaves(value: Any, path: tuple[str, ...]) -> None:
    """Raise SpecError for values that TOML has but no setting takes (NaN, infinity, dates), and for
    deep nesting."""
    where = ".".join(path) or "the spec"
    if len(path) > _DEEPEST:
        raise SpecError(f"{where[:80]}...: tables nest deeper than {_DEEPEST}.")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise SpecError(f"{where}: names are words, not {key!r}.")
            _check_leaves(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_leaves(inner, (*path, str(i)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{where}: must be finite, not {value}.")
    elif isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise SpecError(f"{where}: must fit 64 bits, not {value}.")
    elif not isinstance(value, str | bool | int | float):
        raise SpecError(
            f"{where}: must be a number, a word, true or false, a list or a table, not {value!r}."
        )


def as_toml(spec: dict[str, Any]) -> str:
    """A spec as the TOML file that makes it again."""
    plain = {k: v for k, v in spec.items() if not isinstance(v, dict)}
    lines = [f"{_key(k)} = {_toml(v)}" for k, v in plain.items()]
    for section in (k for k, v in spec.items() if isinstance(v, dict) and v):
        lines += [
            "",
            f"[{_key(section)}]",
            *(f"{_key(k)} = {_toml(v)}" for k, v in spec[section].items()),
        ]
    return "\n".join(lines) + "\n"


def setting_lines(value: Any, swept: Iterable[str], path: str = "") -> list[tuple[str, str]]:
    """Settings as lines of path and value, without those that an axis sets (`swept`)."""
    if path in swept:
        return []
    if isinstance(value, dict) and "of" in value:
        text = f"{value.get('times', 1.0):g} × {value['of']}"
        power = value.get("power", 1.0)
        return [(path, text if power == 1 else f"{text}^{power:g}")]
    if isinstance(value, dict):
        return [
            line
            for key, inner in value.items()
            for line in setting_lines(
                inner, swept, path if key == "name" and path else f"{path}.{key}".lstrip(".")
            )
        ]
    return [(path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)
