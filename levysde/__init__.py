"""Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and held against theory.

The names and where each comes from are in `__init__.pyi`; a part of the package is loaded when one of its names is first used.
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


def _hint(name: str) -> str:
    """Where the name is, or which one is like it."""
    from difflib import get_close_matches
    from types import ModuleType

    parts = {part: _load(part) for part in __all__ if part not in ("sweeps", "studies")}  # these two need an extra
    homes = [part for part, module in parts.items() if isinstance(module, ModuleType) and hasattr(module, name)]
    if homes:
        return f" It is levysde.{homes[0]}.{name}."
    near = get_close_matches(name, __all__, 1, cutoff=0.7)
    return f" Did you mean {near[0]}?" if near else ""
