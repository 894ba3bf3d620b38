"""The engine that runs trajectories to their exits."""

from levysde.escape.block import advance_lanes as advance_lanes
from levysde.escape.engine import describe as describe
from levysde.escape.engine import progress_bar as progress_bar
from levysde.escape.engine import simulate_escape as simulate_escape
from levysde.escape.ledger import Checkpoint as Checkpoint
from levysde.escape.paths import Paths as Paths
from levysde.escape.paths import simulate_paths as simulate_paths
from levysde.escape.preflight import without_preflight as without_preflight
from levysde.escape.result import EscapeResult as EscapeResult
from levysde.escape.result import RunInfo as RunInfo
from levysde.escape.result import Status as Status
from levysde.escape.result import as_shard as as_shard
from levysde.escape.result import check_places as check_places
from levysde.escape.result import join_shards as join_shards
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
