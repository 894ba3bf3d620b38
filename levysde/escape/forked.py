"""A run in a process that was forked from one that had run: it would wait for ever, so it is
refused.

JAX starts threads. A forked process gets a copy of the locks that they held, and no thread that
would release them.
"""

import os

_run_here = False
_run_before_fork = False


def check_process() -> None:
    """Notes that this process runs something. Raises RuntimeError where the process was forked
    after a run."""
    global _run_here
    if _run_before_fork:
        raise RuntimeError(
            "this process was forked from one in which JAX had started its threads, and a run "
            "here would wait for ever. Start new "
            'processes instead: multiprocessing.get_context("spawn").Pool(...), with the function '
            "at the top level of a file."
        )
    _run_here = True


def _after_fork() -> None:
    global _run_before_fork
    _run_before_fork = _run_here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
