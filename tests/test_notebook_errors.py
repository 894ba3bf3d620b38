"""What a notebook shows of a mistake: last a line that names the argument, above it the cell and
frames of levysde alone."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax, levysde as ls
from levysde.protocols import Domain, Landscape
from levysde.studies import run_study
from levysde.sweeps import run_sweep
well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
noise = ls.StableComponents(alpha=1.5)
dynamics = ls.SGD(well, noise, epsilon=0.1)
ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
kernel = ls.EulerMaruyama(dynamics, dt=1e-3)
inputs = np.random.default_rng(0).normal(size=(20, 3))
params = {"w": jnp.ones(3)}
loss = lambda params, x, t: (x @ params["w"] - t) ** 2
network = ls.from_network(loss, params, inputs, inputs[:, 0], weight_decay=0.1)
run = {"landscape": {"name": "Quadratic", "hessian": [[1.0]]}}
run |= {"driver": {"name": "StableComponents", "alpha": 1.5}}
run |= {"dynamics": {"name": "SGD", "epsilon": 0.1}, "domain": {"name": "Sublevel", "height": 0.5}}
run |= {"kernel": {"name": "EulerMaruyama", "dt": 0.01}, "num": 10}

class Mine(Landscape):
    bend: jax.Array
    dim: int = eqx.field(static=True)
    minimum = property(lambda self: jnp.zeros(self.dim))
    def value(self, x):
        return jnp.sum(x**2)
    def gradient(self, x):
        return x @ self.bend
    def hessian(self, x):
        return jnp.eye(2)

class Where(Domain):
    dim: int = eqx.field(static=True)
    convex = property(lambda self: True)
    def contains(self, x):
        return x < 1
    def ray_distance(self, x, v):
        return jnp.ones(())
"""

BAR = "ls.simulate_escape(kernel, ball, jnp.zeros(2), num=10, seed=0, progress=True).num"

MISTAKES = {  # what is typed, and what the last lines must say
    "ls.StableComponent(alpha=1.5)": "AttributeError: levysde has no 'StableComponent'. Did you "
    "mean StableComponents?",
    "ls.StableComponents(alpha=3)": "ValueError: alpha must lie in (0, 2], not 3",
    'ls.SGD(well, noise, epsilon="0.1")': "TypeError: epsilon must be a number",
    "ls.SGD(noise, well, "
    "epsilon=0.1)": "TypeError: landscape must be a Landscape, not StableComponents",
    "ls.simulate_escape(kernel, ball, jnp.zeros(3), num=10, "
    "seed=0)": "ValueError: x0 must have shape (2,)",
    "ls.simulate_escape(dynamics, ball, jnp.zeros(2), num=10, "
    "seed=0)": "TypeError: kernel must be a Kernel",
    "ls.from_function(lambda x: x**2, dim=2, "
    "minimum=jnp.zeros(2))": "TypeError: fn(x) must return one real number",
    "ls.from_function(lambda x: x @ jnp.ones(5), dim=2, "
    "minimum=jnp.zeros(2))": "TypeError: fn(x) fails for",
    "ls.from_function(lambda x: np.sum(np.square(x)), dim=2, "
    "minimum=jnp.zeros(2))": "TypeError: fn(x) fails for",
    "ls.from_function(jax.custom_vjp(lambda x: jnp.sum(x**2)), dim=2, "
    "minimum=jnp.zeros(2))": "fn(x) fails for",
    'ls.from_network(lambda p, x, t: p["v"], params, inputs, inputs[:, 0])': "KeyError: 'v'",
    "ls.from_network(lambda p, x, t: x, params, inputs, inputs[:, "
    "0])": "TypeError: loss must return one real number",
    "ls.OptimizerKernel(0.1, network, batch_size=5)": "TypeError: transformation must be a ",
    "ls.escape_law(ls.SGD(well, ls.Brownian(), epsilon=0.1), "
    "ball)": "ValueError: Brownian motion has no jumps",
    "ls.compare(kernel, ball)": "TypeError: result must be an EscapeResult",
    "ls.SGD(Mine(jnp.ones(2), 2), noise, "
    "epsilon=0.1)": "TypeError: Mine.gradient must return a real array of shape (2,)",
    "ls.SGD(Mine(jnp.ones(5), 2), noise, "
    "epsilon=0.1)": "TypeError: Mine.gradient fails for arguments of shape (2,)",
    "ls.SGD(Mine(jnp.tanh, 2), noise, epsilon=0.1)": "which is no array",
    "ls.simulate_escape(kernel, Where(2), jnp.zeros(2), num=10, "
    "seed=0)": "TypeError: Where.contains must return one",
    'run_study("zhou", "out")': "there is no folder 'zhou'",
    'run_sweep({"run": run | {"landscape": {"name": "Quadratc"}}, "grid": {"alpha": [1.2]}}, '
    '"out")': "Quadratc",
    'run_sweep({"run": run, "grid": {"alhpa": [1.2]}}, "out")': "alhpa",
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """One notebook that makes all mistakes, with what was displayed; first a progress bar, made as
    it should be."""
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, BAR, *MISTAKES)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("mistakes"))}}
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", allow_errors=True, resources=resources
    ).execute()
    assert not notebook.cells[0].outputs
    return notebook.cells[1:]


@pytest.fixture(scope="module")
def shown(cells):
    """The displayed error of each mistake, without colours."""
    errors = [[o for o in cell.outputs if o.output_type == "error"] for cell in cells[1:]]
    texts = [
        re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(line for o in found for line in o.traceback))
        for found in errors
    ]
    return dict(zip(MISTAKES, texts, strict=True))


def test_a_progress_bar_is_shown_without_a_complaint(cells):
    told = "".join(output.get("text", "") for output in cells[0].outputs)
    assert "10" in told or [
        output for output in cells[0].outputs if output.output_type == "display_data"
    ]
    assert "Warning" not in told


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_told_by_name(typed, shown):
    last = shown[typed].rsplit("\n\n", 1)[-1]
    assert MISTAKES[typed] in last, shown[typed]
    assert "site-packages" not in shown[typed], shown[typed]
    assert "The above exception" not in shown[typed]
    assert "During handling" not in shown[typed]
