"""Losses with a marked minimum."""

from levysde.landscapes.digits import digits_mlp as digits_mlp
from levysde.landscapes.function import FunctionLandscape as FunctionLandscape
from levysde.landscapes.function import from_function as from_function
from levysde.landscapes.network import NetworkLandscape as NetworkLandscape
from levysde.landscapes.network import from_network as from_network
from levysde.landscapes.quadratic import Quadratic as Quadratic
from levysde.landscapes.wells import DoubleWell as DoubleWell
