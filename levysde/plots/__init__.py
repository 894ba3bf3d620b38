"""Figures: `ax=None -> Axes`, nothing simulated, nothing shown, no global style."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.plots.animate import animate as animate
from levysde.plots.diagnosis import basin_masses as basin_masses
from levysde.plots.diagnosis import diagnosis as diagnosis
from levysde.plots.diagnosis import escape_times as escape_times
from levysde.plots.diagnosis import hessian_spectrum as hessian_spectrum
from levysde.plots.diagnosis import noise_alignment as noise_alignment
from levysde.plots.diagnosis import tail_indices as tail_indices
from levysde.plots.escape import hill as hill
from levysde.plots.escape import ratios as ratios
from levysde.plots.escape import survival as survival
from levysde.plots.landscape import landscape as landscape
from levysde.plots.paths import exit_directions as exit_directions
from levysde.plots.paths import exit_places as exit_places
from levysde.plots.paths import paths as paths
from levysde.plots.style import COLOURS as COLOURS
from levysde.plots.style import MARKERS as MARKERS

_answer_wrong_calls(globals())
