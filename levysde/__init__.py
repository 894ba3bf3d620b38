"""Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and held against theory."""

from levysde import plots as plots
from levysde import theory as theory
from levysde.analysis import Comparison as Comparison
from levysde.analysis import compare as compare
from levysde.domains import Ball as Ball
from levysde.domains import Box as Box
from levysde.domains import Predicate as Predicate
from levysde.domains import Sublevel as Sublevel
from levysde.dynamics import SGD as SGD
from levysde.dynamics import Adam as Adam
from levysde.dynamics import Langevin as Langevin
from levysde.errors import Interrupted as Interrupted
from levysde.errors import NonFiniteError as NonFiniteError
from levysde.escape import Checkpoint as Checkpoint
from levysde.escape import EscapeResult as EscapeResult
from levysde.escape import Status as Status
from levysde.escape import simulate_escape as simulate_escape
from levysde.kernels import EulerMaruyama as EulerMaruyama
from levysde.landscapes import DoubleWell as DoubleWell
from levysde.landscapes import Quadratic as Quadratic
from levysde.landscapes import digits_mlp as digits_mlp
from levysde.landscapes import from_function as from_function
from levysde.landscapes import from_network as from_network
from levysde.noise import Brownian as Brownian
from levysde.noise import StableComponents as StableComponents
from levysde.noise import StableIsotropic as StableIsotropic
from levysde.theory import EscapeLaw as EscapeLaw
from levysde.theory import escape_law as escape_law

__version__ = "0.1.0.dev0"
