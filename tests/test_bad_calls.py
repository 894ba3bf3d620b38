"""Every public constructor and function, called with odd values: it works, or names the argument in
a ValueError or TypeError.

Some examples of each here; a campaign of more is `pytest -n 0 -s tests/test_bad_calls.py
--hypothesis-profile=campaign --hypothesis-seed=1`, which prints how many calls were made and what
came of them.
"""

import ast
import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bad_values import Odd, called, odd_values, want, why_wrong
from calls import Call, Exempt, public_names, table
from calls.table import ROOMS
from hypothesis import given, strategies as st

from levysde import errors
from levysde.errors.examples import EXAMPLES

CALLS = [entry for room in ROOMS for entry in table(room) if isinstance(entry, Call)]
EXEMPT = [entry for room in ROOMS for entry in table(room) if isinstance(entry, Exempt)]
MADE: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def tally() -> Iterator[None]:
    yield
    print(f"\n{MADE.total()} odd calls of {len(CALLS)} names: {dict(MADE)}")


def identity(call: Call) -> str:
    return f"{call.target.__module__.split('.')[1]}.{call.name}"


@pytest.mark.parametrize(
    "call", [call for call in CALLS if inspect.signature(call.target).parameters], ids=identity
)
@given(data=st.data())
def test_odd_values_work_or_are_refused_by_name(call, data):
    argument = data.draw(st.sampled_from(sorted(call.arguments)))
    parameter = inspect.signature(call.target).parameters[argument]
    odd = data.draw(
        odd_values(call.arguments[argument], optional=parameter.default is None, host=call.host)
    )
    if odd.kind in call.fine.get(argument, ()) or (odd.verdict == "either" and not call.cheap):
        MADE["passed over"] += 1
        return
    wrong = why_wrong(call, argument, odd)
    MADE["wrong" if wrong else odd.verdict] += 1
    assert not wrong, f"{call.name}({argument}=...): {wrong}"


def arrays_of(call: Call) -> Iterator[tuple[str, np.ndarray]]:
    """The arguments of a call that are numbers, as arrays with at least one value."""
    for name, value in call.arguments.items():
        if want(value) in ("array", "number") and np.size(value):
            yield name, np.asarray(value)


@pytest.mark.parametrize("call", [call for call in CALLS if list(arrays_of(call))], ids=identity)
def test_masked_values_are_refused(call):
    """NumPy drops the mask when it converts an array: what the user hid would count."""
    for name, array in arrays_of(call):
        mask = np.zeros(array.shape, bool)
        mask.flat[-1] = True
        wrong = why_wrong(call, name, Odd("masked", np.ma.array(array, mask=mask), "refuse"))
        assert not wrong, f"{call.name}({name}=...): {wrong}"


@pytest.mark.parametrize("call", [call for call in CALLS if call.cheap], ids=identity)
def test_the_call_works(call):
    called(call.target, call.arguments)


@pytest.mark.parametrize("call", CALLS, ids=identity)
def test_every_parameter_is_tried(call):
    assert set(call.arguments) == set(inspect.signature(call.target).parameters)


def test_every_public_name_is_called_or_exempt():
    known = [entry.target for entry in [*CALLS, *EXEMPT]]
    missing = [
        name
        for name, value in public_names().items()
        if not any(value is target for target in known)
    ]
    assert not missing, "add a Call to tests/calls/<folder>.py"


def checked_without_an_example() -> list[str]:
    """Names given to a check of `levysde.errors` that takes its example from the table."""
    checks = {
        name
        for name, check in vars(errors).items()
        if "example" in getattr(check, "__annotations__", {})
    }
    return [
        node.args[0].value
        for folder in ("levysde", "benchmarks")
        for path in (Path(__file__).parents[1] / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in checks
        and len(node.args) == 2
        and "example" not in {keyword.arg for keyword in node.keywords}
        and isinstance(node.args[0], ast.Constant)
    ]


def test_every_name_that_is_checked_has_an_example():
    names = checked_without_an_example()
    assert len(names) > 200
    assert set(names) == set(EXAMPLES)
