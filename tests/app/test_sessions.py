"""Several readers of one served dashboard, over the websocket that browsers use: each sees its own and no error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving.crowd import WALK, Reader, visit_all
from tests.serving.server import Server, served
from tests.serving.session import Session

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(planted_store: Any) -> Iterator[Server]:
    options = {"stage": "stage", "order": planted_store.order}
    with served(planted_store.store, planted_store.clinical, **options) as running:
        yield running


def test_readers_at_once_see_their_own_patients_and_results(server: Server, planted_store: Any) -> None:
    import pandas as pd

    table = pd.read_csv(planted_store.clinical).set_index("patient_id")
    filters = [(), ("scanner=S1",), ("scanner=S2",), ("stage=I", "stage=II"), ("stage=III", "stage=IV")]
    cases = ["P-000", *(table.index[table["scanner"] == s][2] for s in ("S1", "S2")), "P-005", "P-040"]
    assert len(set(cases)) == 5
    counts = [48, *(int((table["scanner"] == s).sum()) for s in ("S1", "S2")), 24, 24]
    readers = [
        Reader(where, n, case, "diameter_mm", "stage", "I,II,III,IV")
        for where, n, case in zip(filters, counts, cases, strict=True)
    ]
    visits = visit_all(server.url, readers)
    assert [c for v in visits for c in v.complaints] == []
    assert all(len(v.seconds) == len(WALK) + 1 for v in visits)


def test_a_page_that_is_left_takes_its_settings_to_the_next(server: Server) -> None:
    with Session(server.url) as reader:
        reader.go("stage_gradient")
        assert reader.widget("view-order").value == "I,II,III,IV"
        reader.go("trajectory")  # the same question on another page
        assert reader.widget("view-order").value == "I,II,III,IV"
        assert reader.errors() == []


def test_a_filter_that_leaves_one_stage_says_what_is_asked_instead(server: Server) -> None:
    with Session(
        server.url, "stage_gradient", where=["stage=I"], stage="stage", order="I,II,III,IV"
    ) as reader:
        assert reader.errors() == []
        assert "is offered instead" in reader.words()
        assert reader.widget("view-stage").options[:1] == ["scanner"]
