"""The explanations of docs/compatibility.md for clients hold for the packages that are installed."""

import pytest

from support.compatibility_clients import REASONS, sources, text_at


@pytest.mark.parametrize(("row", "column"), REASONS)
def test_the_line_is_there_and_the_call_is_not(row, column):
    reason = REASONS[row, column]
    assert text_at(column, reason.file, reason.line) == reason.text
    if reason.absent:
        found = [str(file) for file, text in sources(column, reason.part).items() if reason.absent in text]
        assert not found, f"{reason.absent!r} stands in {found}"
