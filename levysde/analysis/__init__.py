"""What runs and theory say together: comparison, extrapolation in the step, where exits went,
starts."""

from levysde.analysis.compare import Comparison as Comparison
from levysde.analysis.compare import compare as compare
from levysde.analysis.exits import ExitDirections as ExitDirections
from levysde.analysis.exits import LastJumps as LastJumps
from levysde.analysis.exits import exit_directions as exit_directions
from levysde.analysis.exits import last_jumps as last_jumps
from levysde.analysis.extrapolate import Extrapolation as Extrapolation
from levysde.analysis.extrapolate import extrapolate_escape as extrapolate_escape
from levysde.analysis.landing import Landings as Landings
from levysde.analysis.landing import landing_sharpness as landing_sharpness
from levysde.analysis.starts import Starts as Starts
from levysde.analysis.starts import quasi_stationary_starts as quasi_stationary_starts
from levysde.analysis.starts import with_epsilon as with_epsilon
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
