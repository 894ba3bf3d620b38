"""Every public name of the package in a call that works: what the tests of bad calls and of
docstrings start from."""

from calls.table import Call as Call, Exempt as Exempt, public_names as public_names, table as table
