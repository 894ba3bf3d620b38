"""What an installed wheel, without any extra, must do: the twelve lines, its types, and a word on
what is missing."""

import platform
import sys
from collections.abc import Callable
from importlib import metadata, resources

import jax
import jax.numpy as jnp
from typer.testing import CliRunner

import levysde as ls
from levysde.cli import app

assert "site-packages" in ls.__file__, f"the sources were imported, not the wheel: {ls.__file__}"
assert metadata.version("levysde") == ls.__version__
for name in ("py.typed", "__init__.pyi"):
    assert resources.files("levysde").joinpath(name).is_file(), f"{name} is not in the wheel"

well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.2)
ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
result = ls.simulate_escape(
    ls.EulerMaruyama(dynamics, dt=1e-2), ball, jnp.zeros(2), num=1000, seed=0, max_time=1e4
)
ratio = float(ls.escape_law(dynamics, ball).rate * result.time.mean())
assert result.exited.all()
assert 0.8 < ratio < 1.05, ratio
print(ls.compare(result, ls.escape_law(dynamics, ball)))
ls.plots.survival(result, ls.escape_law(dynamics, ball)).figure.savefig("survival.png")


def refusal(use: Callable[[], object]) -> str:
    """The message with which something that needs an extra says so."""
    try:
        use()
    except ImportError as error:
        return str(error)
    return "nothing is missing"


assert "levysde[sweep]" in refusal(lambda: ls.open_sweep("nowhere")), refusal(
    lambda: ls.open_sweep("nowhere")
)
escape = CliRunner().invoke(app, ["escape"])
assert escape.exit_code == 2, escape.output
assert "levysde[sweep]" in escape.output, escape.output
assert "levysde[data]" in refusal(ls.digits_mlp), refusal(ls.digits_mlp)
missing = {"xarray", "zarr", "ray", "sklearn", "pandas"} & set(sys.modules)
assert not missing, missing
print(
    f"levysde {ls.__version__} on Python {platform.python_version()}, jax {jax.__version__}: the "
    "wheel works"
)
