"""Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and held against theory."""

import importlib
from typing import TYPE_CHECKING

from levysde import plots as plots
from levysde import stats as stats
from levysde import theory as theory
from levysde.analysis import Comparison as Comparison
from levysde.analysis import Diagnosis as Diagnosis
from levysde.analysis import Extrapolation as Extrapolation
from levysde.analysis import compare as compare
from levysde.analysis import diagnose as diagnose
from levysde.analysis import exit_directions as exit_directions
from levysde.analysis import extrapolate_escape as extrapolate_escape
from levysde.analysis import landing_sharpness as landing_sharpness
from levysde.analysis import last_jumps as last_jumps
from levysde.analysis import quasi_stationary_starts as quasi_stationary_starts
from levysde.domains import Ball as Ball
from levysde.domains import Basin as Basin
from levysde.domains import Box as Box
from levysde.domains import Complement as Complement
from levysde.domains import Component as Component
from levysde.domains import Dilated as Dilated
from levysde.domains import Ellipsoid as Ellipsoid
from levysde.domains import ExitSets as ExitSets
from levysde.domains import HalfSpaces as HalfSpaces
from levysde.domains import Inner as Inner
from levysde.domains import Intersection as Intersection
from levysde.domains import Predicate as Predicate
from levysde.domains import Sublevel as Sublevel
from levysde.domains import boundary_distance as boundary_distance
from levysde.domains import half_space as half_space
from levysde.dynamics import SGD as SGD
from levysde.dynamics import Adam as Adam
from levysde.dynamics import AdamW as AdamW
from levysde.dynamics import Langevin as Langevin
from levysde.dynamics import Momentum as Momentum
from levysde.dynamics import RMSProp as RMSProp
from levysde.dynamics import Scheduled as Scheduled
from levysde.dynamics import Underdamped as Underdamped
from levysde.errors import Interrupted as Interrupted
from levysde.errors import NonFiniteError as NonFiniteError
from levysde.escape import Checkpoint as Checkpoint
from levysde.escape import EscapeResult as EscapeResult
from levysde.escape import Paths as Paths
from levysde.escape import Status as Status
from levysde.escape import join_shards as join_shards
from levysde.escape import simulate_escape as simulate_escape
from levysde.escape import simulate_paths as simulate_paths
from levysde.kernels import Bridged as Bridged
from levysde.kernels import EulerMaruyama as EulerMaruyama
from levysde.kernels import JumpAdapted as JumpAdapted
from levysde.kernels import LinearRegressionSGD as LinearRegressionSGD
from levysde.kernels import OptimizerKernel as OptimizerKernel
from levysde.kernels import OrnsteinUhlenbeck as OrnsteinUhlenbeck
from levysde.kernels import Shifted as Shifted
from levysde.kernels import TamedEuler as TamedEuler
from levysde.landscapes import AsymmetricValley as AsymmetricValley
from levysde.landscapes import DeepLinear as DeepLinear
from levysde.landscapes import DoubleWell as DoubleWell
from levysde.landscapes import MatrixSensing as MatrixSensing
from levysde.landscapes import Modified as Modified
from levysde.landscapes import MuellerBrown as MuellerBrown
from levysde.landscapes import PatchData as PatchData
from levysde.landscapes import Quadratic as Quadratic
from levysde.landscapes import Rastrigin as Rastrigin
from levysde.landscapes import StyblinskiTang as StyblinskiTang
from levysde.landscapes import WellChain as WellChain
from levysde.landscapes import cubic_patches as cubic_patches
from levysde.landscapes import digits_cnn as digits_cnn
from levysde.landscapes import digits_mlp as digits_mlp
from levysde.landscapes import from_function as from_function
from levysde.landscapes import from_network as from_network
from levysde.landscapes import fully_connected as fully_connected
from levysde.landscapes import logistic_regression as logistic_regression
from levysde.landscapes import patch_data as patch_data
from levysde.landscapes import rescaled as rescaled
from levysde.landscapes import sharp_flat as sharp_flat
from levysde.landscapes import softmax_regression as softmax_regression
from levysde.noise import Brownian as Brownian
from levysde.noise import CompoundPoisson as CompoundPoisson
from levysde.noise import DriverSum as DriverSum
from levysde.noise import EmpiricalSteps as EmpiricalSteps
from levysde.noise import GaussianJump as GaussianJump
from levysde.noise import GaussianMixture as GaussianMixture
from levysde.noise import LowRankScale as LowRankScale
from levysde.noise import ParetoJump as ParetoJump
from levysde.noise import SkewedComponents as SkewedComponents
from levysde.noise import StableComponents as StableComponents
from levysde.noise import StableIsotropic as StableIsotropic
from levysde.noise import StateScale as StateScale
from levysde.noise import StudentT as StudentT
from levysde.noise import TemperedComponents as TemperedComponents
from levysde.noise import TemperedIsotropic as TemperedIsotropic
from levysde.noise import TruncatedComponents as TruncatedComponents
from levysde.noise import TruncatedIsotropic as TruncatedIsotropic
from levysde.noise import covariance_scale as covariance_scale
from levysde.noise import hessian_aligned as hessian_aligned
from levysde.noise import hessian_scale as hessian_scale
from levysde.noise import minibatch_scale as minibatch_scale
from levysde.noise import minibatch_state_scale as minibatch_state_scale
from levysde.noise import trace_matched as trace_matched
from levysde.theory import EscapeLaw as EscapeLaw
from levysde.theory import escape_law as escape_law

if TYPE_CHECKING:
    from levysde.kernels import DiffraxKernel as DiffraxKernel
    from levysde.kernels import LevyPath as LevyPath
    from levysde.sweeps import open_sweep as open_sweep

__version__ = "0.1.0.dev0"
_LATE = {"DiffraxKernel": "kernels", "LevyPath": "kernels", "open_sweep": "sweeps"}  # made with what is slow to import


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(f"levysde.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])
