"""What can escape: an SDE with an integrator."""

from levysde.kernels.euler import EulerMaruyama as EulerMaruyama
from levysde.kernels.regression import LinearRegressionSGD as LinearRegressionSGD
