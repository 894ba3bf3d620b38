"""Methods that advance a trajectory by one step: integrators of an SDE, and real optimisers."""

from typing import TYPE_CHECKING

from levysde.kernels.bridge import Bridged as Bridged, JumpAdapted as JumpAdapted
from levysde.kernels.euler import EulerMaruyama as EulerMaruyama, TamedEuler as TamedEuler
from levysde.kernels.optimizer import OptimizerKernel as OptimizerKernel
from levysde.kernels.ou import OrnsteinUhlenbeck as OrnsteinUhlenbeck
from levysde.kernels.reflect import Reflected as Reflected
from levysde.kernels.regression import LinearRegressionSGD as LinearRegressionSGD
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

if TYPE_CHECKING:
    from levysde.kernels.diffrax_adapter import DiffraxKernel as DiffraxKernel

# made with diffrax, which is slow to import
_answer_wrong_calls(globals(), DiffraxKernel="diffrax_adapter")
