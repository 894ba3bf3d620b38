"""A network at its minimum: training, refinement, gradient noise, and what they say of its
escapes."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.networks.diagnose import diagnose as diagnose
from levysde.networks.diagnosis import Diagnosis as Diagnosis
from levysde.networks.diagnosis import PredictedEscape as PredictedEscape
from levysde.networks.diagnosis import SimulatedEscape as SimulatedEscape
from levysde.networks.gradient_noise import GradientNoise as GradientNoise
from levysde.networks.gradient_noise import measure_gradient_noise as measure_gradient_noise
from levysde.networks.training import Minimum as Minimum
from levysde.networks.training import refine as refine
from levysde.networks.training import train as train

_answer_wrong_calls(globals())
