"""Calls of `levysde.escape`, and what is exempt of the floor below it."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

import levysde as ls
from calls.ground import exempt
from calls.small import ball, folder, kernel, result
from calls.table import Call, Exempt
from levysde import escape, results


def saved() -> str:
    path = f"{folder()}/result.npz"
    result().save(path)
    return path


def calls() -> Iterator[Call | Exempt]:
    yield Call(
        ls.simulate_escape,
        lambda: {
            "kernel": kernel(),
            "domain": ball(),
            "x0": jnp.zeros(2),
            "num": 4,
            "seed": 0,
            "max_time": 20.0,
            "max_steps": 100,
            "lanes": 16,
            "chunk": 64,
            "devices": 1,
            "record": "times",
            "shard": "0/1",
            "checkpoint": ls.Checkpoint(folder() / "run.npz", final=False),
            "progress": False,
            "throw": True,
        },
        host=True,
        fine={"checkpoint": ("text", "string")},  # a path as well
    )
    yield Call(
        ls.simulate_escape,
        lambda: {
            "kernel": kernel(),
            "domain": ball(),
            "x0": jnp.zeros((4, 2)),
            "num": 4,
            "seed": 0,
            "max_time": None,
            "max_steps": None,
            "lanes": None,
            "chunk": None,
            "devices": None,
            "record": "places",
            "shard": (0, 1),
            "checkpoint": None,
            "progress": lambda finished, num: None,
            "throw": False,
        },
        host=True,
    )
    basic = {"x0": jnp.zeros(2), "seed": 0, "lanes": 16, "throw": True}
    yield Call(
        ls.simulate_paths,
        lambda: {
            **basic,
            "kernel": kernel(),
            "num": 2,
            "ids": None,
            "times": None,
            "every": 5,
            "max_time": None,
            "max_steps": 20,
            "domain": ball(),
        },
        host=True,
    )
    yield Call(
        ls.simulate_paths,
        lambda: {
            **basic,
            "kernel": kernel(),
            "num": None,
            "ids": jnp.array([0, 3]),
            "times": jnp.array([0.0, 1.0, 2.0]),
            "every": None,
            "max_time": None,
            "max_steps": None,
            "domain": None,
        },
        host=True,
        fine={"ids": ("float64",)},  # numbers of trajectories are integers
    )
    yield Call(
        ls.Checkpoint,
        lambda: {
            "path": folder() / "run.npz",
            "checkpoint_every": 5.0,
            "final": True,
            "on_save": lambda path: None,
        },
        host=True,
    )
    yield Call(
        ls.sample_paths,
        lambda: {"kernel": kernel(), "x0": jnp.zeros(2), "key": jax.random.PRNGKey(0), "steps": 3},
    )
    yield Call(escape.join_shards, lambda: {"results": [result()]})
    # None is this process's
    yield Call(escape.as_shard, lambda: {"shard": "0/2"}, fine={"shard": ("none",)})
    yield Call(escape.check_places, lambda: {"result": result()})
    yield Exempt(
        escape.progress_bar,
        "the bar of this package's own loops, which they make from what they have checked",
    )
    yield Exempt(
        escape.advance_lanes, "steps states that theory has made, with parts that have been checked"
    )
    yield Exempt(escape.without_preflight, "takes nothing")
    yield Exempt(
        escape.describe, "names a part that has been checked, for the information about a run"
    )
    for received in (escape.EscapeResult, escape.Paths, escape.RunInfo):
        yield Exempt(received, "users only receive it")
    yield Exempt(escape.Status, "an enumeration")
    yield Call(ls.load, lambda: {"path": saved()}, host=True)
    yield Exempt(results.Result, "the base of results, without a constructor of its own")
    yield from exempt()
