"""Fifty readers at once: does every page answer, to each its own, how soon, and in how much memory?

    python -m tests.benchmarks.app_sessions --store DIR --clinical FILE --id COLUMN --stage COLUMN --order A,B,C
                                            [--sessions 50]

Each is a session of a real `flexict app` over its websocket, with a filter, a case and a colour of its own, and walks
through seven pages without a pause. Seconds: from the request until the page's script has ended, while all others ask
too. A page that shows an error, another's patients or another's results is a complaint.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.benchmarks.measurements import Measurement, record
from tests.serving.crowd import Reader, visit_all
from tests.serving.server import cohort_parser, served

_COLUMNS = 8  # at most, whose values are filters and colours


def readers(clinical: Path, *, id_column: str, stage: str, order: str, count: int) -> list[Reader]:
    """Different filters in turn, each with a patient of its own that the filter keeps."""
    import pandas as pd

    from analysis.clinical import canonical

    table = pd.read_csv(clinical, dtype=str, keep_default_na=False)
    told = table.drop(columns=id_column).map(canonical)  # values as the dashboard writes them
    table = told.assign(**{id_column: table[id_column]})
    columns = [c for c in table if c != id_column and 2 <= table[c].nunique() <= 6][:_COLUMNS]
    filters: list[tuple[str, ...]] = [(), *((f"{c}={v}",) for c in columns for v in table[c].unique())]
    found: list[Reader] = []
    taken: set[str] = set()
    while len(found) < count:
        where = filters[len(found) % len(filters)]
        kept = table
        for condition in where:
            column, value = condition.split("=", 1)
            kept = kept[kept[column] == value]
        case = next((p for p in kept[id_column] if p not in taken), None)
        if case is None or len(kept) < 12:
            filters.remove(where)
            continue
        taken.add(case)
        colours = [c for c in columns if (kept[c] != kept[c].iloc[0]).any()]  # a filter may leave one scanner
        found.append(Reader(where, len(kept), case, colours[len(found) % len(colours)], stage, order))
    return found


def main() -> None:
    parser = cohort_parser(__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    asked = parser.parse_args()
    crowd = readers(
        asked.clinical, id_column=asked.id, stage=asked.stage, order=asked.order, count=asked.sessions
    )
    options = {"id": asked.id, "stage": asked.stage, "order": asked.order}
    with served(asked.store, asked.clinical, **options) as server:
        before = server.memory_mb()
        visits = visit_all(server.url, crowd)
        after, peak = server.memory_mb(), server.peak_memory_mb()
        threads = server.threads()
    complaints = [f"{v.reader.case}: {c}" for v in visits for c in v.complaints]
    print(
        f"{len(visits)} sessions, {len({v.reader.where for v in visits})} filters, "
        f"{sum(len(v.seconds) for v in visits)} pages shown"
    )
    print("page            median s   worst s   largest message MB")
    for page in dict.fromkeys(p for v in visits for p, _ in v.seconds):
        taken = [s for v in visits for p, s in v.seconds if p == page]
        sent = [b for v in visits for p, b in v.bytes_received if p == page]
        print(f"{page:15} {statistics.median(taken):8.2f} {max(taken):9.2f} {max(sent) / (1 << 20):9.2f}")
    print(f"server: {before:.0f} MB before, {peak:.0f} MB at most, {after:.0f} MB after; {threads} threads")
    print(f"complaints: {len(complaints)}")
    for complaint in complaints[:20]:
        print(f"  {complaint}")
    record(
        Measurement("complaints", len(complaints), f"of {len(visits)} sessions", 0),
        Measurement("server's memory", peak, "MB at most"),
    )


if __name__ == "__main__":
    main()
