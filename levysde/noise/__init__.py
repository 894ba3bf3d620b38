"""Noise = driver (its law) x scale (a linear map)."""

from typing import TYPE_CHECKING

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.noise.boundary import boundary_shift as boundary_shift
from levysde.noise.boundary import small_jump_shift as small_jump_shift
from levysde.noise.boundary import small_jump_variance as small_jump_variance
from levysde.noise.covariance import covariance_root as covariance_root
from levysde.noise.covariance import covariance_scale as covariance_scale
from levysde.noise.covariance import hessian_aligned as hessian_aligned
from levysde.noise.covariance import minibatch_scale as minibatch_scale
from levysde.noise.covariance import trace_matched as trace_matched
from levysde.noise.covariance import unit_variance as unit_variance
from levysde.noise.poisson import CompoundPoisson as CompoundPoisson
from levysde.noise.poisson import GaussianJump as GaussianJump
from levysde.noise.poisson import ParetoJump as ParetoJump
from levysde.noise.scales import STATE_FREE as STATE_FREE
from levysde.noise.scales import DenseScale as DenseScale
from levysde.noise.scales import DiagonalScale as DiagonalScale
from levysde.noise.scales import LowRankScale as LowRankScale
from levysde.noise.scales import ScalarScale as ScalarScale
from levysde.noise.scales import StateScale as StateScale
from levysde.noise.scales import as_scale as as_scale
from levysde.noise.skewed import SkewedComponents as SkewedComponents
from levysde.noise.stable import Brownian as Brownian
from levysde.noise.stable import StableComponents as StableComponents
from levysde.noise.stable import StableIsotropic as StableIsotropic
from levysde.noise.stable import levy_constant as levy_constant
from levysde.noise.stable import total_tail as total_tail
from levysde.noise.state_covariance import hessian_scale as hessian_scale
from levysde.noise.state_covariance import minibatch_state_scale as minibatch_state_scale
from levysde.noise.steps import EmpiricalSteps as EmpiricalSteps
from levysde.noise.steps import GaussianMixture as GaussianMixture
from levysde.noise.steps import StudentT as StudentT
from levysde.noise.sums import DriverSum as DriverSum
from levysde.noise.tempered import TemperedComponents as TemperedComponents
from levysde.noise.tempered import TemperedIsotropic as TemperedIsotropic
from levysde.noise.truncated import TruncatedComponents as TruncatedComponents
from levysde.noise.truncated import TruncatedIsotropic as TruncatedIsotropic

if TYPE_CHECKING:
    from levysde.noise.levy_path import LevyPath as LevyPath


# made with diffrax, which is slow to import
_answer_wrong_calls(globals(), LevyPath="levy_path")
