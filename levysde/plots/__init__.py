"""Figures: `ax=None -> Axes`, nothing simulated, nothing shown, no global style."""

from levysde.plots.escape import ratio_ladder as ratio_ladder
from levysde.plots.escape import survival as survival
