"""Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and held against theory.

The names and where each comes from are in `__init__.pyi`; a part of the package is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
