"""The stochastic differential equations."""

from levysde.dynamics.adam import Adam as Adam
from levysde.dynamics.adam import AdamState as AdamState
from levysde.dynamics.gradient import SGD as SGD
from levysde.dynamics.gradient import Langevin as Langevin
