"""The stochastic differential equations."""

from levysde.dynamics.adam import Adam as Adam
from levysde.dynamics.adam import AdamState as AdamState
from levysde.dynamics.adam import AdamW as AdamW
from levysde.dynamics.averages import RMSProp as RMSProp
from levysde.dynamics.averages import RMSPropState as RMSPropState
from levysde.dynamics.gradient import SGD as SGD
from levysde.dynamics.gradient import Langevin as Langevin
from levysde.dynamics.momentum import Momentum as Momentum
from levysde.dynamics.momentum import MomentumState as MomentumState
from levysde.dynamics.momentum import Underdamped as Underdamped
from levysde.dynamics.momentum import UnderdampedState as UnderdampedState
from levysde.dynamics.schedule import Scheduled as Scheduled
from levysde.dynamics.schedule import ScheduledState as ScheduledState
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
