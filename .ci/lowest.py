"""Constraints for pip: the lowest version that pyproject.toml allows of everything it names."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for requirement in sorted(
    {*project["dependencies"], *(one for extra in extras.values() for one in extra)}
):
    if found := re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", requirement):
        print(f"{found[1]}=={found[2]}")
