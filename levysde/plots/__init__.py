"""Figures: `ax=None -> Axes`, nothing simulated, nothing shown, no global style."""

from levysde.plots.animate import animate as animate
from levysde.plots.escape import ratio_ladder as ratio_ladder
from levysde.plots.escape import survival as survival
from levysde.plots.landscape import landscape as landscape
from levysde.plots.paths import exit_directions as exit_directions
from levysde.plots.paths import exit_places as exit_places
from levysde.plots.paths import paths as paths
from levysde.plots.style import COLOURS as COLOURS
from levysde.plots.style import MARKERS as MARKERS
from levysde.plots.tails import hill as hill
