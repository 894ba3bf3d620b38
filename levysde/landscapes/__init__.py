"""Losses with a marked minimum."""

from levysde.landscapes.asymmetric_valley import AsymmetricValley as AsymmetricValley
from levysde.landscapes.deep_linear import DeepLinear as DeepLinear
from levysde.landscapes.digits import digits_cnn as digits_cnn
from levysde.landscapes.digits import digits_mlp as digits_mlp
from levysde.landscapes.function import FunctionLandscape as FunctionLandscape
from levysde.landscapes.function import from_function as from_function
from levysde.landscapes.matrix_sensing import MatrixSensing as MatrixSensing
from levysde.landscapes.mueller_brown import MuellerBrown as MuellerBrown
from levysde.landscapes.network import NetworkLandscape as NetworkLandscape
from levysde.landscapes.network import from_network as from_network
from levysde.landscapes.quadratic import Quadratic as Quadratic
from levysde.landscapes.rastrigin import Rastrigin as Rastrigin
from levysde.landscapes.regression import logistic_regression as logistic_regression
from levysde.landscapes.regression import softmax_regression as softmax_regression
from levysde.landscapes.sharp_flat import SharpFlat as SharpFlat
from levysde.landscapes.styblinski_tang import StyblinskiTang as StyblinskiTang
from levysde.landscapes.well_chain import WellChain as WellChain
from levysde.landscapes.wells import DoubleWell as DoubleWell
