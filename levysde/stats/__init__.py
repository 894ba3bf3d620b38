"""Estimates from exit times and noise samples, each with its interval. numpy and scipy only."""

from levysde.stats.estimate import Estimate as Estimate
from levysde.stats.goodness import Exponentiality as Exponentiality
from levysde.stats.goodness import exponentiality as exponentiality
from levysde.stats.survival import SurvivalCurve as SurvivalCurve
from levysde.stats.survival import escape_rate as escape_rate
from levysde.stats.survival import kaplan_meier as kaplan_meier
from levysde.stats.survival import mean_ratio as mean_ratio
from levysde.stats.survival import mean_time as mean_time
from levysde.stats.survival import restricted_mean as restricted_mean
from levysde.stats.tail_index import StableFit as StableFit
from levysde.stats.tail_index import block_log_moment_index as block_log_moment_index
from levysde.stats.tail_index import characteristic_function_fit as characteristic_function_fit
from levysde.stats.tail_index import stable_scale as stable_scale
