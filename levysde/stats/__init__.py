"""Estimates from exit times and noise samples, each with its interval. numpy and scipy only."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.stats.bootstrap import DirectionalIndex as DirectionalIndex
from levysde.stats.bootstrap import block_bootstrap as block_bootstrap
from levysde.stats.bootstrap import block_length as block_length
from levysde.stats.bootstrap import per_coordinate as per_coordinate
from levysde.stats.bootstrap import projections as projections
from levysde.stats.goodness import Exponentiality as Exponentiality
from levysde.stats.goodness import exponentiality as exponentiality
from levysde.stats.hill import HillCurve as HillCurve
from levysde.stats.hill import HillFit as HillFit
from levysde.stats.hill import hill as hill
from levysde.stats.hill import hill_curve as hill_curve
from levysde.stats.hill import hill_on_stable as hill_on_stable
from levysde.stats.hurst import fractional_gaussian_noise as fractional_gaussian_noise
from levysde.stats.hurst import hurst_dfa as hurst_dfa
from levysde.stats.hurst import hurst_rs as hurst_rs
from levysde.stats.mcculloch import SkewedStableFit as SkewedStableFit
from levysde.stats.mcculloch import mcculloch as mcculloch
from levysde.stats.samples import Estimate as Estimate
from levysde.stats.survival import SurvivalCurve as SurvivalCurve
from levysde.stats.survival import escape_rate as escape_rate
from levysde.stats.survival import kaplan_meier as kaplan_meier
from levysde.stats.survival import mean_ratio as mean_ratio
from levysde.stats.survival import mean_time as mean_time
from levysde.stats.survival import restricted_mean as restricted_mean
from levysde.stats.tail_index import StableFit as StableFit
from levysde.stats.tail_index import block_log_moment_index as block_log_moment_index
from levysde.stats.tail_index import characteristic_function_fit as characteristic_function_fit
from levysde.stats.tail_index import index_of_growth as index_of_growth
from levysde.stats.tail_index import stable_scale as stable_scale
from levysde.stats.tail_report import TailFinding as TailFinding
from levysde.stats.tail_report import TailReport as TailReport
from levysde.stats.tail_report import tail_report as tail_report

_answer_wrong_calls(globals())
