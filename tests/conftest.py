"""Settings shared by all tests: hostile to silent broadcasting, and compiled programs kept between runs."""

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
# Two thirds of the suite's time is XLA's, 60 ms for the smallest program: what one process has compiled, the other workers,
# the kernels of notebooks and the drivers of sweeps read.
CACHE = {
    "jax_compilation_cache_dir": str(Path(tempfile.gettempdir(), f"levysde-tests-{getpass.getuser()}")),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for option, setting in CACHE.items():
    jax.config.update(option, setting)
    os.environ[option.upper()] = str(setting)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # at each program read XLA complains of a setting of its own, and fills pipes
# A process that reads a program while another still writes it warns, and compiles it itself.
HALF_WRITTEN = "ignore:Error reading persistent compilation cache entry:UserWarning"
os.environ["PYTHONWARNINGS"] = HALF_WRITTEN

gc.freeze()  # what is imported stays
gc.set_threshold(10_000, 20, 50)  # JAX keeps millions of objects, and to look through them all takes a second

HABITS = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=10, derandomize=True, **HABITS)  # the same examples in every run
settings.register_profile(
    "campaign", max_examples=60, **HABITS
)  # pytest --hypothesis-profile=campaign --hypothesis-seed=1
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", HALF_WRITTEN)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


# Left to the slow half: each takes many seconds, mostly of compilation, and has a lighter sister.
SLOW_SISTERS = (
    "test_boundary.py::test_any_layout_gives_the_same_bits[jump]",
    "test_boundary.py::test_any_layout_gives_the_same_bits[shift]",
    "test_boundary.py::test_brownian_exit_from_a_ball[3]",
    "test_boundary.py::test_small_jumps_made_gaussian[0.5]",
    "test_boundary.py::test_small_jumps_made_gaussian[1.5]",
    "test_boundary.py::test_weak_order_one_half_becomes_one",
    "test_compare.py::test_coverage[100.0]",
    "test_diffrax_kernel.py::test_a_step_that_floats_do_not_hold",
    "test_diffrax_kernel.py::test_solvers_in_the_engine[Heun]",
    "test_diffrax_kernel.py::test_solvers_in_the_engine[ReversibleHeun]",
    "test_domains.py::test_conformance[Basin]",
    "test_exit_times.py::test_ornstein_uhlenbeck[1.8-0.2",
    "test_fused.py::test_compiles_to_one_gpu_kernel[",
    "test_fused.py::test_same_exits_as_the_loop[ADAM",
    "test_fused.py::test_same_exits_as_the_loop[isotropic",
    "test_gaussian_dynamics.py::test_hessian_scale_is_the_root_of_the_hessian_there[2]",
    "test_gaussian_dynamics.py::test_hessian_scale_is_the_root_of_the_hessian_there[5]",
    "test_kernels.py::test_tamed_stays_where_euler_explodes[isotropic]",
    "test_landscapes.py::test_conformance[DeepLinear]",
    "test_landscapes.py::test_conformance[MatrixSensing]",
    "test_landscapes.py::test_conformance[Modified]",
    "test_landscapes.py::test_conformance[MuellerBrown]",
    "test_landscapes.py::test_conformance[WellChain]",
    "test_landscapes.py::test_deep_linear_saddles_are_strict[widths0",
    "test_landscapes.py::test_deep_linear_saddles_are_strict[widths2-0.0]",
    "test_landscapes.py::test_deep_linear_saddles_are_strict[widths3",
    "test_landscapes.py::test_it_can_be_escaped_from[DeepLinear]",
    "test_landscapes.py::test_it_can_be_escaped_from[MatrixSensing]",
    "test_landscapes.py::test_it_can_be_escaped_from[MuellerBrown]",
    "test_landscapes.py::test_it_can_be_escaped_from[WellChain]",
    "test_landscapes.py::test_the_gradient_of_a_function_is_that_of_reverse_mode[4]",
    "test_landscapes.py::test_the_gradient_of_a_function_is_that_of_reverse_mode[5]",
    "test_optimizer_kernel.py::test_a_subset_has_no_example_twice_and_favours_none[70]",
    "test_optimizer_kernel.py::test_empirical_steps_are_means_of_rows[float64]",
    "test_optimizer_kernel.py::test_iterations_are_those_of_optax[adam-epochs]",
    "test_optimizer_kernel.py::test_iterations_are_those_of_optax[heavy ball-epochs]",
    "test_optimizer_kernel.py::test_iterations_are_those_of_optax[heavy ball-independent]",
    "test_optimizer_kernel.py::test_iterations_are_those_of_optax[layers apart-epochs]",
    "test_optimizer_kernel.py::test_iterations_are_those_of_optax[layers apart-independent]",
    "test_scales.py::test_low_rank_run",
    "test_stable_exit.py::test_the_mean_jumps_where_the_drift",
    "test_stable_exit.py::test_what_does_not_converge_gives_no_number",
    "test_stats.py::test_coverage_of_rate_and_ratio[inf]",
    "test_stats.py::test_size_is_right[100-0.5]",
    "test_study_sections.py::test_a_section_comes_to_its_verdicts[xie2021-networks]",
    "test_study_sections.py::test_a_section_comes_to_its_verdicts[xie2021-white]",
    "test_study_sections.py::test_a_section_comes_to_its_verdicts[zhou2020-law]",
    "test_xie.py::test_the_study_end_to_end_on_a_small_spec",
)
KEPT = ("[components]", "Marcus]", "basin]", "sum]")  # of the long list of GPU kernels


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kernel = "test_compiles_to_one_gpu_kernel" in item.nodeid
        if any(name in item.nodeid for name in SLOW_SISTERS) and not (kernel and item.nodeid.endswith(KEPT)):
            item.add_marker(pytest.mark.slow)


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
