"""The form of the tables of calls, one module for each folder of the package, and which names are
public."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

ROOMS = (
    "noise",
    "landscapes",
    "domains",
    "dynamics",
    "kernels",
    "escape",
    "theory",
    "stats",
    "analysis",
    "networks",
    "plots",
    "sweeps",
    "studies",
)
# modules whose public names are what they define themselves
OPEN = ("protocols", "errors", "random", "results")


@dataclass(frozen=True)
class Call:
    """A public class or function and arguments that it accepts, every parameter of its signature by
    name.

    make: makes the arguments, when a test first needs them. cheap: a call takes milliseconds, so
    that values which may be right are tried too, not only those that must be refused. host: needs
    numbers that it can look at: a traced value must be refused, else it may also work. fine: for an
    argument, names of kinds of values (`tests/bad_values.py`) that look wrong and are right, or may
    be. also: for an argument, further words one of which its messages may use instead of its name.
    """

    target: Callable[..., Any]
    make: Callable[[], Mapping[str, Any]]
    cheap: bool = True
    host: bool = False
    fine: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.target.__name__

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        return self.make()


@dataclass(frozen=True)
class Exempt:
    """A public name that nobody calls with values of their own, and why."""

    target: Any
    reason: str


def public_names() -> dict[str, Any]:
    """Every public class, function and exception of the package by its full name, each once."""
    names: dict[str, Any] = {}
    for room in (*ROOMS, *OPEN):
        module = importlib.import_module(f"levysde.{room}")
        for name in dir(module):
            value = getattr(module, name)
            if name.startswith("_") or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            home = value.__module__
            if home.startswith(f"levysde.{room}.") or home == f"levysde.{room}":
                names[f"levysde.{room}.{name}"] = value
    return names


@cache
def table(room: str) -> tuple[Call | Exempt, ...]:
    """The calls of a folder: what `calls()` of the module of its name yields."""
    return tuple(importlib.import_module(f"calls.{room}").calls())
