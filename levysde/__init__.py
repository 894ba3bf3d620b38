"""Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and
    compared with theory.

The names and where each comes from are in `__init__.pyi`; a part of the package is loaded when one
of its names is first used.
"""

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    try:
        return _load(name)
    except AttributeError:
        if name in __all__:  # the fault is inside that part
            raise
        raise AttributeError(f"levysde has no {name!r}.{_hint(name)}", name=name) from None


# what others call it, or what one looks for: where it is here
_CONCEPTS = {
    "Equation Process Dynamics "
    "DriftDiffusion": "an equation: SDE, SGD, Momentum, Adam, Langevin or Underdamped",
    "AlphaStable Stable Levy LevyStable LevyNoise "
    "StableNoise": "noise: StableComponents or StableIsotropic",
    "Gaussian GaussianNoise Normal Wiener BrownianMotion WhiteNoise": "Brownian",
    "Potential Loss LossFunction Objective "
    "Function": "a landscape: Quadratic, DoubleWell, from_function or from_network",
    "Network NeuralNetwork Model MLP": "from_network, digits_mlp or fully_connected",
    "Optimizer Optimiser Optax RealSGD": "OptimizerKernel",
    "Euler EM Integrator Solver "
    "Simulator": "a kernel: EulerMaruyama, JumpAdapted or OrnsteinUhlenbeck",
    "Region Set Basins "
    "Neighborhood": "a domain: Ball, Box, Ellipsoid, HalfSpaces, Sublevel or Basin",
    "Sphere Disc Disk Circle": "Ball",
    "Interval Rectangle Cube": "Box",
    "HalfSpace Halfspace": "half_space or HalfSpaces",
    "LevelSet Levelset SublevelSet": "Sublevel",
    "simulate run escape escape_time escape_times exit_time exit_times "
    "mean_exit_time": "simulate_escape",
    "theory_law law kramers": "escape_law, or theory.kramers_law",
    "sweep run_sweep": "sweeps.run_sweep",
}


def _hint(name: str) -> str:
    """Where the name is, or which one is like it."""
    from difflib import get_close_matches
    from types import ModuleType

    # need an extra
    parts = {
        part: _load(part) for part in __all__ if part not in ("sweeps", "studies", "open_sweep")
    }
    homes = [
        part
        for part, module in parts.items()
        if isinstance(module, ModuleType) and hasattr(module, name)
    ]
    if homes:
        return f" It is levysde.{homes[0]}.{name}."
    for words, here in _CONCEPTS.items():
        if name.lower() in words.lower().split():
            return f" Use {here}."
    lowered = {known.lower(): known for known in __all__}
    near = get_close_matches(name.lower(), lowered, 1, cutoff=0.7)
    return f" Did you mean {lowered[near[0]]}?" if near else ""
