"""Noise = driver (its law) x scale (a linear map)."""

from levysde.noise.scales import DenseScale as DenseScale
from levysde.noise.scales import DiagonalScale as DiagonalScale
from levysde.noise.scales import ScalarScale as ScalarScale
from levysde.noise.scales import as_scale as as_scale
from levysde.noise.stable import Brownian as Brownian
from levysde.noise.stable import StableComponents as StableComponents
from levysde.noise.stable import StableIsotropic as StableIsotropic
from levysde.noise.stable import levy_constant as levy_constant
