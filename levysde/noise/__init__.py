"""Noise = driver (its law) x scale (a linear map)."""

from typing import TYPE_CHECKING

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.noise.boundary import (
    boundary_shift as boundary_shift,
    small_jump_shift as small_jump_shift,
    small_jump_variance as small_jump_variance,
)
from levysde.noise.covariance import (
    covariance_root as covariance_root,
    covariance_scale as covariance_scale,
    hessian_aligned as hessian_aligned,
    minibatch_scale as minibatch_scale,
    trace_matched as trace_matched,
    unit_variance as unit_variance,
)
from levysde.noise.poisson import (
    CompoundPoisson as CompoundPoisson,
    GaussianJump as GaussianJump,
    ParetoJump as ParetoJump,
)
from levysde.noise.scales import (
    STATE_FREE as STATE_FREE,
    DenseScale as DenseScale,
    DiagonalScale as DiagonalScale,
    LowRankScale as LowRankScale,
    ScalarScale as ScalarScale,
    StateScale as StateScale,
    as_scale as as_scale,
)
from levysde.noise.skewed import SkewedComponents as SkewedComponents
from levysde.noise.stable import (
    Brownian as Brownian,
    StableComponents as StableComponents,
    StableIsotropic as StableIsotropic,
    levy_constant as levy_constant,
    total_tail as total_tail,
)
from levysde.noise.state_covariance import (
    hessian_scale as hessian_scale,
    minibatch_state_scale as minibatch_state_scale,
)
from levysde.noise.steps import (
    EmpiricalSteps as EmpiricalSteps,
    GaussianMixture as GaussianMixture,
    StudentT as StudentT,
)
from levysde.noise.sums import DriverSum as DriverSum
from levysde.noise.tempered import (
    TemperedComponents as TemperedComponents,
    TemperedIsotropic as TemperedIsotropic,
)
from levysde.noise.truncated import (
    TruncatedComponents as TruncatedComponents,
    TruncatedIsotropic as TruncatedIsotropic,
)

if TYPE_CHECKING:
    from levysde.noise.levy_path import LevyPath as LevyPath


# made with diffrax, which is slow to import
_answer_wrong_calls(globals(), LevyPath="levy_path")
