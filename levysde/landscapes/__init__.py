"""Losses with a marked minimum."""

from levysde.landscapes.chain import AsymmetricValley as AsymmetricValley
from levysde.landscapes.chain import WellChain as WellChain
from levysde.landscapes.chain import sharp_flat as sharp_flat
from levysde.landscapes.classifiers import digits_cnn as digits_cnn
from levysde.landscapes.classifiers import digits_mlp as digits_mlp
from levysde.landscapes.classifiers import fully_connected as fully_connected
from levysde.landscapes.classifiers import logistic_regression as logistic_regression
from levysde.landscapes.classifiers import softmax_regression as softmax_regression
from levysde.landscapes.factorisations import DeepLinear as DeepLinear
from levysde.landscapes.factorisations import MatrixSensing as MatrixSensing
from levysde.landscapes.function import FunctionLandscape as FunctionLandscape
from levysde.landscapes.function import from_function as from_function
from levysde.landscapes.many_wells import MuellerBrown as MuellerBrown
from levysde.landscapes.many_wells import Rastrigin as Rastrigin
from levysde.landscapes.many_wells import StyblinskiTang as StyblinskiTang
from levysde.landscapes.modified import Modified as Modified
from levysde.landscapes.modified import Rescaled as Rescaled
from levysde.landscapes.modified import in_float64 as in_float64
from levysde.landscapes.modified import rescaled as rescaled
from levysde.landscapes.network import NetworkLandscape as NetworkLandscape
from levysde.landscapes.network import flat_vector_hint as flat_vector_hint
from levysde.landscapes.network import from_network as from_network
from levysde.landscapes.network import model_parameters as model_parameters
from levysde.landscapes.wells import DoubleWell as DoubleWell
from levysde.landscapes.wells import Quadratic as Quadratic
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
