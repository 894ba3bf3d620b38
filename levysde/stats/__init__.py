"""Estimates from exit times and noise samples, each with its interval. numpy and scipy only."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.stats.bootstrap import (
    DirectionalIndex as DirectionalIndex,
    block_bootstrap as block_bootstrap,
    block_length as block_length,
    per_coordinate as per_coordinate,
    projections as projections,
)
from levysde.stats.goodness import (
    Exponentiality as Exponentiality,
    exponentiality as exponentiality,
)
from levysde.stats.hill import (
    HillCurve as HillCurve,
    HillFit as HillFit,
    hill as hill,
    hill_curve as hill_curve,
    hill_on_stable as hill_on_stable,
)
from levysde.stats.hurst import (
    fractional_gaussian_noise as fractional_gaussian_noise,
    hurst_dfa as hurst_dfa,
    hurst_rs as hurst_rs,
)
from levysde.stats.log_rank import LogRank as LogRank, log_rank as log_rank
from levysde.stats.mcculloch import (
    SkewedStableFit as SkewedStableFit,
    mcculloch as mcculloch,
)
from levysde.stats.samples import Estimate as Estimate
from levysde.stats.survival import (
    SurvivalCurve as SurvivalCurve,
    escape_rate as escape_rate,
    kaplan_meier as kaplan_meier,
    mean_ratio as mean_ratio,
    mean_time as mean_time,
    restricted_mean as restricted_mean,
)
from levysde.stats.tail_index import (
    StableFit as StableFit,
    block_log_moment_index as block_log_moment_index,
    characteristic_function_fit as characteristic_function_fit,
    index_of_growth as index_of_growth,
    stable_scale as stable_scale,
)
from levysde.stats.tail_report import (
    TailFinding as TailFinding,
    TailReport as TailReport,
    tail_report as tail_report,
)

_answer_wrong_calls(globals())
