"""Whether this process was forked from one that had used JAX."""

import os
import sys

_run_here, _jax_in_use, _forked_in_use = False, False, False


def check_process() -> None:
    """Notes that this process runs something, and raises RuntimeError where it was forked from one
    that had used JAX: a forked process gets a copy of the locks that JAX's threads held, and no
    thread that would release them, so a run would wait for ever."""
    global _run_here
    if _forked_in_use:
        raise RuntimeError(
            "this process was forked from one in which JAX had started its threads, and JAX "
            "here would wait for ever. Start new "
            'processes instead: multiprocessing.get_context("spawn").Pool(...), with the function '
            "at the top level of a file."
        )
    _run_here = True


def _before_fork() -> None:
    global _jax_in_use
    # JAX has no public name for this; without the private one, only a run is known
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", lambda: False)
    _jax_in_use = _run_here or started()


def _after_fork() -> None:
    global _forked_in_use
    _forked_in_use = _forked_in_use or _jax_in_use


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
