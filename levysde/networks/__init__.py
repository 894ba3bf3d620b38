"""A network at its minimum: training, refinement, gradient noise, and what they say of its
escapes."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.networks.diagnose import diagnose as diagnose
from levysde.networks.diagnosis import (
    Diagnosis as Diagnosis,
    PredictedEscape as PredictedEscape,
    SimulatedEscape as SimulatedEscape,
)
from levysde.networks.gradient_noise import (
    GradientNoise as GradientNoise,
    measure_gradient_noise as measure_gradient_noise,
)
from levysde.networks.track import Track as Track, track as track
from levysde.networks.training import Minimum as Minimum, refine as refine, train as train

_answer_wrong_calls(globals())
