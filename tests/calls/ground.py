"""What stands on the lowest floor: `levysde.protocols`, `levysde.errors`, `levysde.random`."""

import inspect
from collections.abc import Iterator

from calls.table import Exempt
from levysde import errors, protocols, random


def exempt() -> Iterator[Exempt]:
    for module, reason in (
        (protocols, "an interface to derive from, or a helper of steps that are compiled"),
        (
            errors,
            "an exception, or what the checks themselves are made of: it is called with what "
            "the others get",
        ),
        (
            random,
            "draws words inside steps that are compiled, of shapes and types that the engine makes",
        ),
    ):
        for name, value in vars(module).items():
            known = inspect.isclass(value) or inspect.isfunction(value)
            if known and not name.startswith("_") and value.__module__.startswith(module.__name__):
                yield Exempt(value, reason)
