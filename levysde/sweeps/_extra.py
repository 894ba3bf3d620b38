"""Loaded before the rest of the folder: names the extra where what all of it needs is not
installed."""

from importlib.util import find_spec

from levysde import errors

for package in ("pydantic", "fsspec", "xarray", "zarr"):
    if find_spec(package) is None:
        raise errors.missing_extra(package, "sweep", "A sweep (levysde escape runs one)")
