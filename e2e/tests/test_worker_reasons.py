"""The explanations of docs/compatibility.md for workers hold for the packages that are installed."""

import pytest

from support.compatibility_workers import REASONS, text_at


@pytest.mark.parametrize(("row", "version"), REASONS)
def test_the_line_is_there(row, version):
    _, file, line, text = REASONS[row, version]
    assert text_at(version, file, line) == text
