"""What runs and theory say together, and how a network is brought to a minimum."""

from levysde.analysis.amplitude import with_epsilon as with_epsilon
from levysde.analysis.compare import Comparison as Comparison
from levysde.analysis.compare import compare as compare
from levysde.analysis.diagnose import diagnose as diagnose
from levysde.analysis.diagnosis import Diagnosis as Diagnosis
from levysde.analysis.diagnosis import PredictedEscape as PredictedEscape
from levysde.analysis.diagnosis import SimulatedEscape as SimulatedEscape
from levysde.analysis.exits import ExitDirections as ExitDirections
from levysde.analysis.exits import LastJumps as LastJumps
from levysde.analysis.exits import exit_directions as exit_directions
from levysde.analysis.exits import last_jumps as last_jumps
from levysde.analysis.extrapolate import Extrapolation as Extrapolation
from levysde.analysis.extrapolate import extrapolate_escape as extrapolate_escape
from levysde.analysis.gradient_noise import GradientNoise as GradientNoise
from levysde.analysis.gradient_noise import measure_gradient_noise as measure_gradient_noise
from levysde.analysis.landing import Landings as Landings
from levysde.analysis.landing import landing_sharpness as landing_sharpness
from levysde.analysis.starts import Starts as Starts
from levysde.analysis.starts import quasi_stationary_starts as quasi_stationary_starts
from levysde.analysis.training import Minimum as Minimum
from levysde.analysis.training import polish as polish
from levysde.analysis.training import train as train
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
