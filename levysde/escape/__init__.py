"""The engine that runs trajectories to their exits."""

from levysde.escape.bar import progress_bar as progress_bar
from levysde.escape.checkpoint import Checkpoint as Checkpoint
from levysde.escape.engine import describe as describe, simulate_escape as simulate_escape
from levysde.escape.lanes import advance_lanes as advance_lanes
from levysde.escape.paths import Paths as Paths, simulate_paths as simulate_paths
from levysde.escape.preflight import without_preflight as without_preflight
from levysde.escape.result import (
    EscapeResult as EscapeResult,
    RunInfo as RunInfo,
    Status as Status,
    check_places as check_places,
)
from levysde.escape.shards import as_shard as as_shard, join_shards as join_shards
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
