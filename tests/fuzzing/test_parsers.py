"""Damaged input of every kind: only the declared exceptions come out, in one line, and memory stays bounded."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.targets import Target, damaged, targets

EXAMPLES = 500  # `python -m tests.benchmarks.fuzzing` runs 10,000
MOST_BYTES = 100_000_000  # of Python's and numpy's memory, for inputs of a few kilobytes


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


NAMES = (
    "manifest", "clinical table", "clinical workbook", "study", "NIfTI", "NIfTI in gzip", "NRRD", "MetaImage",
    "RTSTRUCT", "CT slice", "store spec", "store part", "weights", "vectors",
)  # fmt: skip


def test_every_parser_is_named_and_reads_its_sound_bytes(parsers: dict[str, Target]) -> None:
    assert tuple(parsers) == NAMES
    for target in parsers.values():
        target.parse(target.sound)


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_refused_in_one_line(parsers: dict[str, Target], name: str) -> None:
    target = parsers[name]

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.deferred(lambda: damaged(target.sound)))
    def survives(data: bytes) -> None:
        target.survives(data)

    tracemalloc.start()
    try:
        survives()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES
