"""Figures: `ax=None -> Axes`, nothing simulated, nothing shown, no global style."""

from levysde.naming import answer_wrong_calls as _answer_wrong_calls
from levysde.plots.animate import animate as animate
from levysde.plots.diagnosis import (
    basin_masses as basin_masses,
    diagnosis as diagnosis,
    escape_times as escape_times,
    hessian_spectrum as hessian_spectrum,
    noise_alignment as noise_alignment,
    tail_indices as tail_indices,
)
from levysde.plots.escape import hill as hill, ratios as ratios, survival as survival
from levysde.plots.landscape import landscape as landscape
from levysde.plots.noise import noise as noise
from levysde.plots.paths import (
    action_paths as action_paths,
    exit_directions as exit_directions,
    exit_places as exit_places,
    paths as paths,
)
from levysde.plots.style import COLOURS as COLOURS, MARKERS as MARKERS
from levysde.plots.track import track as track

_answer_wrong_calls(globals())
