"""The engine that runs trajectories to their exits."""

from levysde.escape.block import advance_lanes as advance_lanes
from levysde.escape.engine import (
    describe as describe,
    progress_bar as progress_bar,
    simulate_escape as simulate_escape,
)
from levysde.escape.ledger import Checkpoint as Checkpoint
from levysde.escape.paths import Paths as Paths, simulate_paths as simulate_paths
from levysde.escape.preflight import without_preflight as without_preflight
from levysde.escape.result import (
    EscapeResult as EscapeResult,
    RunInfo as RunInfo,
    Status as Status,
    as_shard as as_shard,
    check_places as check_places,
    join_shards as join_shards,
)
from levysde.escape.sample import sample_paths as sample_paths
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
