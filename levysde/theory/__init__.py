"""What theory says: escape laws and exact oracles. Float64, on the host."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.noise import boundary_shift as boundary_shift
from levysde.theory.committor import (
    Committor as Committor,
    committor as committor,
)
from levysde.theory.exact_exit import (
    brownian_mean_exit as brownian_mean_exit,
    exact_exit as exact_exit,
    getoor_mean_exit as getoor_mean_exit,
    ryznar_mean_exit as ryznar_mean_exit,
)
from levysde.theory.exit_law import escape_law as escape_law
from levysde.theory.first_passage import (
    FirstPassage as FirstPassage,
    first_passage as first_passage,
)
from levysde.theory.kramers import (
    KramersLaw as KramersLaw,
    StationaryPoint as StationaryPoint,
    kramers_law as kramers_law,
    stationary_point as stationary_point,
)
from levysde.theory.law import (
    Conditions as Conditions,
    Law as Law,
    LawError as LawError,
)
from levysde.theory.law_error import law_error as law_error
from levysde.theory.log_rate import log_rate as log_rate
from levysde.theory.metastability import (
    gaussian_chain as gaussian_chain,
    stable_chain as stable_chain,
)
from levysde.theory.metastable_chain import (
    MetastableChain as MetastableChain,
    Residence as Residence,
)
from levysde.theory.minibatch import (
    MinibatchLaw as MinibatchLaw,
    combined_law as combined_law,
    optimizer_exponent as optimizer_exponent,
    xie_law as xie_law,
)
from levysde.theory.minimum_action import (
    MinimumAction as MinimumAction,
    minimum_action as minimum_action,
)
from levysde.theory.quasi_potential import (
    QuasiPotential as QuasiPotential,
    quasi_potential as quasi_potential,
)
from levysde.theory.response import (
    JumpResponse as JumpResponse,
    jump_response as jump_response,
)
from levysde.theory.stable_exit import (
    StableExit as StableExit,
    stable_ball_exit as stable_ball_exit,
    stable_exit as stable_exit,
)
from levysde.theory.stable_law import (
    SAMPLER_FLOOR as SAMPLER_FLOOR,
    EscapeLaw as EscapeLaw,
)
from levysde.theory.stationary import (
    StationaryCovariance as StationaryCovariance,
    kesten_index as kesten_index,
    regression_covariance as regression_covariance,
    sgd_covariance as sgd_covariance,
)

_answer_wrong_calls(globals())
