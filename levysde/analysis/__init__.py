"""What runs and theory say together: comparison, extrapolation in the step, where exits went,
starts."""

from levysde.analysis.compare import Comparison as Comparison, compare as compare
from levysde.analysis.exits import (
    ExitDirections as ExitDirections,
    LastJumps as LastJumps,
    exit_directions as exit_directions,
    last_jumps as last_jumps,
)
from levysde.analysis.extrapolate import (
    Extrapolation as Extrapolation,
    extrapolate_escape as extrapolate_escape,
)
from levysde.analysis.landing import Landings as Landings, landing_sharpness as landing_sharpness
from levysde.analysis.starts import (
    Starts as Starts,
    quasi_stationary_starts as quasi_stationary_starts,
    with_epsilon as with_epsilon,
)
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
