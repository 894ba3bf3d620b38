"""Every test of figures draws on a canvas of its own."""

import pytest


@pytest.fixture(autouse=True)
def _own_canvas(clean_canvas: None) -> None:
    """`clean_canvas`, for all tests of this folder."""
