"""Steps as displacements: everything that moves the position in a step is summed before it is added
to the position.

In `(x - dt * gradient) + kick` the sum in parentheses is rounded to the float spacing of x, and a
drift of less than half the spacing is lost, however large the noise is. In
`x + (kick - dt * gradient)` the noise carries the drift over the spacing: rounding is then
unbiased, unless the noise of a step is itself small against the spacing
(`levysde.escape.precision` checks that before a run)."""

from abc import abstractmethod

from levysde.protocols import Dynamics, NoiseVector, Point, Scalar, State


class WholeStep(Dynamics):
    """Dynamics whose step is given as a displacement."""

    @abstractmethod
    def advance(self, state: State, dt: Scalar, increment: NoiseVector) -> tuple[State, Point]:
        """The state after a step but for its position, and the displacement of that."""

    def step(self, state: State, dt: Scalar, increment: NoiseVector) -> State:
        new, displacement = self.advance(state, dt, increment)
        return self.move(new, self.position(state) + displacement)


def advanced(
    dynamics: Dynamics, state: State, dt: Scalar, increment: NoiseVector
) -> tuple[State, Point]:
    """`WholeStep.advance` of any dynamics; for those that do not have it, from a step, whose
    displacement has been rounded."""
    if isinstance(dynamics, WholeStep):
        return dynamics.advance(state, dt, increment)
    new = dynamics.step(state, dt, increment)
    return new, dynamics.position(new) - dynamics.position(state)
