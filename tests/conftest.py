"""Settings shared by all tests: hostile to silent broadcasting, and compiled programs kept between runs."""

import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir(), f"levysde-tests-{getpass.getuser()}")))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def float64() -> Iterator[None]:
    """Runs the test with JAX in 64-bit mode."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[type]:
    """Runs the test once in each precision, with JAX set to it."""
    with jax.enable_x64(request.param == "float64"):
        yield getattr(jnp, request.param)
