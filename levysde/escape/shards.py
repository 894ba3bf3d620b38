"""One run on several hosts: each process makes every n-th trajectory, and the rows are put
together.

A trajectory is a pure function of the seed and its id, so the processes have nothing to tell each
other while they run, and the parts together are the run that one process would have made, bit for
bit (on one jax version, backend and type of device).
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

import jax
import numpy as np

from levysde import errors
from levysde.escape.result import EscapeResult, RunInfo, Status
from levysde.types import Arg

_SAME = ("kernel", "domain", "unit", "dt", "seed", "num", "versions")


def as_shard(shard: Arg[tuple[int, int] | str | None]) -> tuple[int, int]:
    """Which share of a run this process makes.

    Args:
        shard: `(i, n)` or "i/n", i from 0 to n - 1; None for this process among those that
            `jax.distributed` joins.

    Returns:
        The two integers.

    Raises:
        ValueError: anything else.
    """
    if shard is None:
        return jax.process_index(), jax.process_count()
    if isinstance(shard, str):
        parts = shard.split("/")
        shard = cast(Any, tuple(int(part) if part.isdecimal() else part for part in parts))
    if (
        not isinstance(shard, tuple)
        or len(shard) != 2
        or not all(isinstance(k, int) and not isinstance(k, bool) for k in shard)
        or not 0 <= shard[0] < shard[1]
    ):
        raise ValueError(
            f'shard must be (i, n) or "i/n" with i from 0 to n - 1, not {errors.shown(shard)}. '
            'For example "0/2".'
        )
    return shard


def join_shards(results: Arg[Sequence[EscapeResult]]) -> EscapeResult:
    """The run whose shards these are.

    Args:
        results: a list of `EscapeResult`, in any order.

    Returns:
        An `EscapeResult`. Workers and steps in its `info` are sums over the shards, seconds the
        longest of any; trajectories that no shard finished stay `UNFINISHED`.

    Raises:
        TypeError, ValueError: not a list of results, results of different runs, a trajectory that
            two of them hold.
    """
    if (
        not isinstance(results, Sequence)
        or not results
        or not all(isinstance(r, EscapeResult) for r in results)
    ):
        raise TypeError(
            f"results must be a list of EscapeResult, not {errors.shown(results)}. Type "
            "join_shards([first, second])."
        )
    first = results[0]
    for other in results[1:]:
        for name in _SAME:
            mine, theirs = getattr(first.info, name), getattr(other.info, name)
            if mine != theirs:
                raise ValueError(
                    f"these are shards of different runs: {name} is {mine!r} in one and {theirs!r} "
                    "in another."
                )
        if other.last_inside.shape != first.last_inside.shape:
            raise ValueError(
                "these are shards of different runs: one kept the places of its "
                "exits, another did not."
            )
    made = np.stack([r.status != Status.UNFINISHED for r in results])
    twice = np.flatnonzero(made.sum(0) > 1)
    if len(twice):
        raise ValueError(f"trajectory {twice[0]} is in two of the shards. Give each shard once.")
    owner = made.argmax(0)
    columns = {
        f.name: _chosen([getattr(r, f.name) for r in results], owner)
        for f in fields(EscapeResult)
        if f.name != "info"
    }
    return EscapeResult(**columns, info=_joined([r.info for r in results]))


def gathered(result: EscapeResult) -> EscapeResult:
    """The whole run on every process that `jax.distributed` joins, from the shard of each."""
    from jax.experimental import multihost_utils  # slow to import

    columns = {
        f.name: np.asarray(getattr(result, f.name))
        for f in fields(EscapeResult)
        if f.name != "info"
    }
    shapes = {name: column.shape for name, column in columns.items()}
    # 64 bits stay 64 bits
    raw = {name: np.frombuffer(column.tobytes(), np.uint8) for name, column in columns.items()}
    work = np.array([getattr(result.info, name) for name in _SUMS + _LONGEST], np.float64)
    everyone = multihost_utils.process_allgather(
        raw | {"_work": np.frombuffer(work.tobytes(), np.uint8)}
    )
    parts = []
    for i in range(jax.process_count()):
        rows = {name: np.asarray(everyone[name][i]).tobytes() for name in raw}
        arrays = {
            name: np.frombuffer(rows[name], columns[name].dtype).reshape(shapes[name])
            for name in raw
        }
        numbers = np.frombuffer(np.asarray(everyone["_work"][i]).tobytes(), np.float64)
        sums = {name: int(n) for name, n in zip(_SUMS, numbers, strict=False)}
        longest = {name: float(n) for name, n in zip(_LONGEST, numbers[len(_SUMS) :], strict=True)}
        parts.append(EscapeResult(**arrays, info=replace(result.info, **sums, **longest)))
    return join_shards(parts)


_SUMS, _LONGEST = ("workers", "lane_steps", "live_steps"), ("seconds", "compile_seconds")


def _joined(infos: list[RunInfo]) -> RunInfo:
    sums = {name: sum(getattr(info, name) for info in infos) for name in _SUMS}
    longest = {name: max(getattr(info, name) for info in infos) for name in _LONGEST}
    return replace(infos[0], **sums, **longest)


def _chosen(columns: list[np.ndarray], owner: np.ndarray) -> np.ndarray:
    out = columns[0].copy()
    for i, column in enumerate(columns[1:], 1):
        out[owner == i] = column[owner == i]
    return out
