"""Loaded before the rest of the folder: names the extra where what all of it needs is not installed."""

from importlib.util import find_spec

from levysde import errors

if find_spec("pydantic") is None:
    raise errors.missing_extra("pydantic", "sweep", "A sweep")
