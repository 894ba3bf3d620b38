"""The stochastic differential equations."""

from levysde.dynamics.adam import Adam as Adam, AdamState as AdamState, AdamW as AdamW
from levysde.dynamics.averages import RMSProp as RMSProp, RMSPropState as RMSPropState
from levysde.dynamics.gradient import (
    SGD as SGD,
    FirstOrder as FirstOrder,
    Langevin as Langevin,
)
from levysde.dynamics.momentum import (
    Momentum as Momentum,
    MomentumState as MomentumState,
    Underdamped as Underdamped,
    UnderdampedState as UnderdampedState,
)
from levysde.dynamics.schedule import Scheduled as Scheduled, ScheduledState as ScheduledState
from levysde.dynamics.sde import SDE as SDE
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
