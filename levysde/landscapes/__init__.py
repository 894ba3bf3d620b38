"""Losses with a marked minimum."""

from levysde.landscapes.function import FunctionLandscape as FunctionLandscape
from levysde.landscapes.function import from_function as from_function
from levysde.landscapes.quadratic import Quadratic as Quadratic
from levysde.landscapes.wells import DoubleWell as DoubleWell
