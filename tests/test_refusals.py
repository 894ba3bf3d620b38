"""Wrong names of arguments and of things: the answer names the right ones."""

import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from calls import Call, table
from calls.table import ROOMS

import levysde as ls
from levysde.naming import answering, meant, misfit

WELL = ls.Quadratic(hessian=jnp.eye(2))
STABLE = ls.StableComponents(alpha=1.5)
DYNAMICS = ls.SGD(WELL, STABLE, epsilon=0.1)
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
KERNEL = ls.EulerMaruyama(DYNAMICS, dt=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ls.SGD(WELL, STABLE, lr=0.1),
            r"SGD has no argument 'lr'\. Did you mean learning_rate\? Type SGD\(land",
        ),
        (
            lambda: ls.SGD(WELL, noise=STABLE, epsilon=0.1),
            "SGD has no argument 'noise'. Did you mean driver",
        ),
        (
            lambda: ls.OptimizerKernel("sgd", WELL, noise=STABLE),
            "no argument 'noise'. Did you mean driver",
        ),
        (
            lambda: ls.OptimizerKernel(optimizer="sgd"),
            "no argument 'optimizer'. Did you mean transformation",
        ),
        (
            lambda: ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=3, key=0),
            "no argument 'key'. Did you mean seed",
        ),
        (
            lambda: ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), n=3, seed=0),
            "no argument 'n'. Did you mean num",
        ),
        (
            lambda: ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=3),
            r"simulate_escape needs "
            r"seed\. Type simulate",
        ),
        (
            lambda: ls.Ball(1.0),
            r"Ball takes no arguments without a name, and got 1\. Type Ball\(radius=..., "
            r"center=...\)",
        ),
        (lambda: ls.Ball(), "Ball needs radius and center"),
        (lambda: ls.Ball(radius=1.0, centre=jnp.zeros(2)), "Did you mean center"),
        (
            lambda: ls.StableComponents(1.5, 2.0),
            "StableComponents takes one argument without a name, and got 2",
        ),
        (
            lambda: ls.Brownian(3),
            r"Brownian takes no arguments without a name, and got 1\. Type "
            r"Brownian\(\)",
        ),
        (lambda: ls.EulerMaruyama(DYNAMICS, step=0.1), "Did you mean dt"),
        (lambda: ls.EulerMaruyama(DYNAMICS, 0.1, dt=0.1), "EulerMaruyama got dt twice"),
        (lambda: ls.escape_law(DYNAMICS, check=False), "escape_law needs domain"),
        (lambda: ls.stats.hill(jnp.ones(9), confidnce=0.9), "Did you mean confidence"),
        (lambda: ls.Box(low=jnp.zeros(1), upper=jnp.ones(1)), "Did you mean lower"),
        (lambda: ls.LevyPath(wrong=1), "LevyPath has no argument 'wrong'"),
        (
            lambda: ls.Ball(radius=1.0, center=jnp.zeros(2), zebra=1),
            r"no argument 'zebra'\. Type "
            r"Ball",
        ),
    ],
)
def test_a_call_that_does_not_fit_is_answered_with_one_that_does(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("Process", "Use an equation: SDE, SGD, Momentum"),
        ("AlphaStable", "StableComponents or StableIsotropic"),
        ("Potential", "a landscape: Quadratic"),
        ("Euler", "EulerMaruyama"),
        ("Gaussian", "Use Brownian"),
        ("exit_times", "Use simulate_escape"),
        ("sgd", "Did you mean SGD"),
        ("StableComponent", "Did you mean StableComponents"),
        ("zebra", "no 'zebra'.$"),
    ],
)
def test_a_name_that_is_not_here_is_answered_with_what_to_use(name, answer):
    with pytest.raises(AttributeError, match=answer):
        getattr(ls, name)


def test_a_fault_inside_a_call_that_fits_is_not_taken_for_a_wrong_call():
    def inner(a, *, b=1):
        raise TypeError("missing 1 required positional argument: of something else")

    with pytest.raises(TypeError, match="of something else"):
        answering(inner, "inner")(1, b=2)
    assert misfit(inner, "inner", (1,), {"b": 2}) is None
    with pytest.raises(TypeError, match="landscape must be a Landscape"):
        ls.SGD(3, STABLE, epsilon=0.1)


def test_another_word_comes_before_a_like_one():
    assert meant("lr", ["scale", "learning_rate"]) == "learning_rate"
    assert meant("optimizer", ["optimizer_state", "transformation"]) == "transformation"
    assert meant("learnin_rate", ["scale", "learning_rate"]) == "learning_rate"
    assert meant("zebra", ["scale", "learning_rate"]) is None


CALLS = [
    entry
    for room in ROOMS
    if room not in ("sweeps", "studies")
    for entry in table(room)
    if isinstance(entry, Call)
]


CALLS = [call for call in CALLS if not inspect.ismethod(call.target)]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.target.__module__}.{call.name}")
def test_every_public_name_answers(call):
    """And keeps its name, its documentation, its signature, and its place for pickle."""
    fn = call.target.__init__ if inspect.isclass(call.target) else call.target
    if call.target.__module__.split(".")[1] in ROOMS and inspect.isfunction(fn):
        with pytest.raises(TypeError, match=f"{call.name} has no argument 'zebra'"):
            call.target(zebra=1)
    kinds = {parameter.kind for parameter in inspect.signature(call.target).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds  # as those of what wraps it
    assert call.target.__doc__
    assert pickle.loads(pickle.dumps(call.target)) is call.target


FORKED = """
import multiprocessing, sys, warnings
import levysde as ls, numpy as np

def run(eps):
    dynamics = ls.SGD(ls.Quadratic(hessian=np.eye(1)), ls.StableComponents(alpha=1.5), epsilon=eps)
    interval = ls.Box(lower=-np.ones(1), upper=np.ones(1))
    kernel = ls.EulerMaruyama(dynamics, dt=1e-2)
    return float(ls.simulate_escape(kernel, interval, np.zeros(1), num=16, seed=0).time.mean())

def guarded(eps):
    try:
        return run(eps)
    except RuntimeError as error:
        return str(error)

if __name__ == "__main__":
    # after a run, or after no more than a part has been made
    own = run(0.5) if sys.argv[2] == "run" else ls.Quadratic(hessian=np.eye(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of the fork itself
        with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
            other = pool.map_async(guarded, [0.5]).get(timeout=120)[0]
    print(other == own if sys.argv[1] == "spawn" else other)
"""


@pytest.mark.slow
def test_a_run_in_a_forked_process_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "pool.py").write_text(FORKED)
    said = {}
    for how, used in (("fork", "run"), ("fork", "part"), ("spawn", "run")):
        done = subprocess.run(
            [sys.executable, "pool.py", how, used],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            timeout=200,
        )
        said[how, used] = done.stdout.strip()
    for used in ("run", "part"):
        assert 'instead: multiprocessing.get_context("spawn")' in said["fork", used]
    assert said["spawn", "run"] == "True"


@pytest.mark.slow
def test_a_sweep_without_its_extra_names_it():
    """zarr is hidden, as where levysde is installed without extras."""
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'zarr': raise ModuleNotFoundError(f'No module named "
        "{name!r}', name=name)\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'zarr' else real(name, "
        "*rest)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "import levysde as ls\n"
        "try:\n    ls.open_sweep\nexcept ImportError as error:\n    print(error)\n"
        "from typer.testing import CliRunner\nfrom levysde.cli import app\n"
        "print(CliRunner().invoke(app, ['escape']).output.strip())\n"
        "try:\n    ls.StableComponent\nexcept AttributeError as error:\n    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines() == [
        "A sweep (levysde escape runs one) needs zarr, which is not installed. Type: pip install "
        '"levysde[sweep]"',
        "levysde: A sweep (levysde escape runs one) needs zarr, which is not installed. Type: pip "
        'install "levysde[sweep]"',
        "levysde has no 'StableComponent'. Did you mean StableComponents?",
    ]


def test_a_noise_level_that_fills_the_basin_says_so():
    from levysde.sweeps.main_job import MainJobSettings, prepare

    case = prepare(MainJobSettings(landscape="quadratic"))
    warning = case.at_noise(epsilon=1.0).hardly_a_basin(0)
    assert warning.startswith("there is hardly a basin")
    assert (
        "of the basin's height, 0.5. Trajectories leave at once. Take a smaller epsilon" in warning
    )
    assert case.at_noise(epsilon=0.1).hardly_a_basin(0) == ""


def renamed() -> list[tuple[str, str, str]]:
    """The rows of the changelog's table of renamed arguments: (callable, old name, new name)."""
    page = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    table = page.split("| class or function | before | now |")[1].split("\n\n")[0]
    rows = []
    for line in table.splitlines()[2:]:
        targets, old, new = (re.findall(r"`([\w.]+)`", cell) for cell in line.split("|")[1:4])
        rows += [(t, a, b) for t in targets for a, b in zip(old, new, strict=False)]
    return [row for row in rows if row[0] not in NO_CALLS]


# named in the table, and no callable with the argument
NO_CALLS = ("plots.ratio_ladder", "networks.polish", "studies.Verdict")
ROOM = {"Checkpoint": ls.escape, "ScalarScale": ls.noise, "Sweep.fit": ls.sweeps}


@pytest.mark.parametrize(("target", "old", "new"), renamed())
def test_a_former_name_is_answered_with_the_present_one(target, old, new):
    found = ROOM.get(target, ls)
    for part in target.split("."):
        found = getattr(found, part, None) or getattr(ls.sweeps, part)
    assert meant(old, list(inspect.signature(found).parameters)) == new
