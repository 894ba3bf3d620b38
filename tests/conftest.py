"""Settings shared by all tests: hostile to silent broadcasting, and compiled programs kept between
runs."""

import gc
import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_numpy_rank_promotion", "raise")
# Two thirds of the suite's time is XLA's, 60 ms for the smallest program: what one process has
# compiled, the other workers, the kernels of notebooks and the drivers of sweeps read.
CACHE = {
    "jax_compilation_cache_dir": str(
        Path(tempfile.gettempdir(), f"levysde-tests-{getpass.getuser()}")
    ),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for option, setting in CACHE.items():
    jax.config.update(option, setting)
    os.environ[option.upper()] = str(setting)
# at each program read XLA complains of a setting of its own, and fills pipes
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# A process that reads a program while another still writes it warns, and compiles it itself.
HALF_WRITTEN = "ignore:Error reading persistent compilation cache entry:UserWarning"
os.environ["PYTHONWARNINGS"] = ",".join(
    filter(None, (os.environ.get("PYTHONWARNINGS"), HALF_WRITTEN))
)

gc.freeze()  # what is imported stays
# JAX keeps millions of objects, and to look through them all takes a second
gc.set_threshold(10_000, 20, 50)

HABITS = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
# the same examples in every run
settings.register_profile("quick", max_examples=10, derandomize=True, **HABITS)
settings.register_profile(
    "campaign", max_examples=60, **HABITS
)  # pytest --hypothesis-profile=campaign --hypothesis-seed=1
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", HALF_WRITTEN)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`@pytest.mark.slow_cases("a", "b")` leaves the cases whose id begins so to the slow half:
    they take many seconds, mostly of compilation, and have lighter sisters. `but=("a",)` leaves
    there all others."""
    for item in items:
        mark, case = (
            item.get_closest_marker("slow_cases"),
            getattr(getattr(item, "callspec", None), "id", ""),
        )
        if mark and (case.startswith(mark.args) if mark.args else case not in mark.kwargs["but"]):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def float64() -> Iterator[None]:
    """Runs the test with JAX in 64-bit mode."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def clean_canvas() -> Iterator[None]:
    """Draws into memory, and closes the figures of the test."""
    import matplotlib.pyplot as plt  # slow to import

    before = plt.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[type]:
    """Runs the test once in each precision, with JAX set to it."""
    with jax.enable_x64(request.param == "float64"):
        yield getattr(jnp, request.param)
