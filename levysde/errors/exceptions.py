"""Warnings and exceptions of the package."""

from typing import Any


class AccuracyWarning(UserWarning):
    """A number may be wrong. The message says which, by how much, and how to fix it."""


class PrecisionWarning(AccuracyWarning):
    """The float spacing of the state is too coarse for the drift or the noise of one step."""


class StabilityWarning(AccuracyWarning):
    """The step is too long for the drift, so that the integrator and not the equation decides."""


class NonFiniteError(RuntimeError):
    """Some trajectories became NaN. Everything computed is in `.result`."""

    def __init__(self, message: str, result: Any):
        super().__init__(message)
        self.result = result


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run. The rows finished so far are in `.result`."""

    def __init__(self, message: str, result: Any):
        super().__init__(message)
        self.result = result


class CheckpointError(ValueError):
    """The checkpoint file is damaged, or of another run."""
