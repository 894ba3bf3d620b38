"""Every public name of the package in a call that works: what the tests of bad calls and of
docstrings start from."""

from calls.table import Call as Call
from calls.table import Exempt as Exempt
from calls.table import public_names as public_names
from calls.table import table as table
