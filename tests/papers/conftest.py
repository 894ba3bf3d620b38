"""The papers are not part of the package: their folder goes on the search path, as `levysde study`
puts it there, and their annotations are checked at run time, as those of the package are."""

import sys
from pathlib import Path

from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
install_import_hook("papers", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
