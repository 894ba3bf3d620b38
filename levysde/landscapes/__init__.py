"""Losses with a marked minimum."""

from levysde.landscapes.chain import (
    AsymmetricValley as AsymmetricValley,
    WellChain as WellChain,
    sharp_flat as sharp_flat,
)
from levysde.landscapes.classifiers import (
    digits_cnn as digits_cnn,
    digits_mlp as digits_mlp,
    fully_connected as fully_connected,
    logistic_regression as logistic_regression,
    softmax_regression as softmax_regression,
)
from levysde.landscapes.factorisations import (
    DeepLinear as DeepLinear,
    MatrixSensing as MatrixSensing,
)
from levysde.landscapes.function import (
    FunctionLandscape as FunctionLandscape,
    from_function as from_function,
)
from levysde.landscapes.many_wells import (
    MuellerBrown as MuellerBrown,
    Rastrigin as Rastrigin,
    StyblinskiTang as StyblinskiTang,
)
from levysde.landscapes.modified import (
    Modified as Modified,
    Rescaled as Rescaled,
    in_float64 as in_float64,
    rescaled as rescaled,
)
from levysde.landscapes.network import (
    NetworkLandscape as NetworkLandscape,
    flattened as flattened,
    from_network as from_network,
)
from levysde.landscapes.trees import (
    flat_vector_hint as flat_vector_hint,
    model_parameters as model_parameters,
)
from levysde.landscapes.wells import DoubleWell as DoubleWell, Quadratic as Quadratic
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
