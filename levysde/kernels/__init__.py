"""Methods that advance a trajectory by one step: integrators of an SDE, and real optimisers."""

from typing import TYPE_CHECKING

from levysde.kernels.bridge import Bridged as Bridged
from levysde.kernels.euler import EulerMaruyama as EulerMaruyama
from levysde.kernels.jump_adapted import JumpAdapted as JumpAdapted
from levysde.kernels.optimizer import OptimizerKernel as OptimizerKernel
from levysde.kernels.ou import OrnsteinUhlenbeck as OrnsteinUhlenbeck
from levysde.kernels.regression import LinearRegressionSGD as LinearRegressionSGD
from levysde.kernels.tamed import TamedEuler as TamedEuler
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

if TYPE_CHECKING:
    from levysde.kernels.diffrax_adapter import DiffraxKernel as DiffraxKernel

_LATE = ("DiffraxKernel",)  # made with diffrax, which is slow to import


def __getattr__(name: str) -> object:
    if name == "DiffraxKernel":
        from levysde.kernels.diffrax_adapter import DiffraxKernel

        _answer_wrong_calls({"__name__": __name__, name: DiffraxKernel})
        return DiffraxKernel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])


_answer_wrong_calls(globals())
