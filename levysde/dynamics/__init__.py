"""The stochastic differential equations."""

from levysde.dynamics.adam import Adam as Adam, AdamState as AdamState
from levysde.dynamics.adaptive import (
    AdamW as AdamW,
    RMSProp as RMSProp,
    RMSPropState as RMSPropState,
)
from levysde.dynamics.gradient import SGD as SGD, Langevin as Langevin
from levysde.dynamics.momentum import Momentum as Momentum, MomentumState as MomentumState
from levysde.dynamics.schedule import Scheduled as Scheduled, ScheduledState as ScheduledState
from levysde.dynamics.underdamped import (
    Underdamped as Underdamped,
    UnderdampedState as UnderdampedState,
)
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
