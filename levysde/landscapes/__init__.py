"""Losses with a marked minimum."""

from levysde.landscapes.chain import (
    AsymmetricValley as AsymmetricValley,
    WellChain as WellChain,
    sharp_flat as sharp_flat,
)
from levysde.landscapes.classifiers import (
    fully_connected as fully_connected,
    logistic_regression as logistic_regression,
    softmax_regression as softmax_regression,
)
from levysde.landscapes.deep_linear import DeepLinear as DeepLinear
from levysde.landscapes.digits import digits_cnn as digits_cnn, digits_mlp as digits_mlp
from levysde.landscapes.function import (
    FunctionLandscape as FunctionLandscape,
    from_function as from_function,
)
from levysde.landscapes.many_wells import (
    MuellerBrown as MuellerBrown,
    Rastrigin as Rastrigin,
    StyblinskiTang as StyblinskiTang,
)
from levysde.landscapes.matrix_sensing import MatrixSensing as MatrixSensing
from levysde.landscapes.model import (
    flat_vector_hint as flat_vector_hint,
    model_parameters as model_parameters,
)
from levysde.landscapes.modified import Modified as Modified
from levysde.landscapes.network import (
    NetworkLandscape as NetworkLandscape,
    from_network as from_network,
)
from levysde.landscapes.precision import in_float64 as in_float64
from levysde.landscapes.quadratic import Quadratic as Quadratic
from levysde.landscapes.rescaled import Rescaled as Rescaled, rescaled as rescaled
from levysde.landscapes.wells import DoubleWell as DoubleWell
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
