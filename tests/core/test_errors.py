"""An error is one line, whatever it quotes, and survives the way back from a worker process."""

from __future__ import annotations

import pickle

import pytest

from flexict_core import errors


def test_what_a_terminal_would_obey_is_not_in_a_message() -> None:
    error = errors.ImageError("scan\x1b[2J\r\nof \u202egnp.exe\u2028: bad")
    assert str(error) == "scan [2J of gnp.exe : bad"
    assert str(errors.ImageError("a  plain  line – é漢")) == "a  plain  line – é漢"


@pytest.mark.parametrize(
    "kind", [errors.ImageError, errors.ArchiveError, errors.StoreError, errors.AnalysisError]
)
def test_errors_travel_between_processes(kind: type[errors.FlexictError]) -> None:
    again = pickle.loads(pickle.dumps(kind("what, its value: the remedy")))  # noqa: S301
    assert type(again) is kind
    assert str(again) == "what, its value: the remedy"
