"""How the lanes of a problem may be laid out, read off its programs."""

import functools
from typing import Any

from levysde.interfaces import DOMAIN, KERNEL, Sketch, sketch_key
from levysde.protocols import Domain, Kernel, is_lane_invariant


def runs_by_lanes(kernel: Kernel, domain: Domain) -> bool:
    """Whether a step and the exit test avoid library matmuls, whose bits depend on the number of lanes."""
    return _runs_by_lanes(*sketch_key(domain, kernel))


@functools.lru_cache(maxsize=256)
def _runs_by_lanes(*key: Any) -> bool:
    sketch = Sketch(*key)
    state = sketch.outcome(KERNEL, "init", sketch.x, sketch.start)
    step, contains = sketch.method(KERNEL, "step"), sketch.method(DOMAIN, "contains")
    return is_lane_invariant(step, sketch.leaves, sketch.step, state) and is_lane_invariant(
        contains, sketch.leaves, sketch.x
    )
