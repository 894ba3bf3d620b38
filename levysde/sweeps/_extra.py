"""Loaded before the rest of the folder: an error that names the extra if a package is missing."""

from importlib.util import find_spec

from levysde import errors

for package in ("pydantic", "fsspec", "xarray", "zarr", "jinja2", "pyarrow"):
    if find_spec(package) is None:
        raise errors.missing_extra(package, "sweep", "A sweep (levysde escape runs one)")
