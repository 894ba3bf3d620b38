"""Calls of `levysde.dynamics`."""

from collections.abc import Iterator

from calls.table import Call, Exempt


def calls() -> Iterator[Call | Exempt]:
    yield from ()
