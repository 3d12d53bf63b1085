"""Many readers at once, each with a cohort, a case and a colour of its own, and what each of them may see."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.serving.session import Session

WALK = ("", "map", "case", "retrieval", "stage_gradient", "case", "export")


@dataclass(frozen=True)
class Reader:
    """Who looks at what. patients: how many the filter keeps; stage, order: of the question asked."""

    where: tuple[str, ...]
    patients: int
    case: str
    colour: str
    stage: str
    order: str


@dataclass
class Visit:
    """What one reader met: seconds and bytes of each page shown, and everything that was not as it must be."""

    reader: Reader
    session: str = ""
    seconds: list[tuple[str, float]] = field(default_factory=list)
    bytes_received: list[tuple[str, int]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def visit_all(url: str, readers: Sequence[Reader]) -> list[Visit]:
    """All readers walk at the same time; none goes on before all have connected."""
    visits, together = [Visit(r) for r in readers], threading.Barrier(len(readers))
    others = {r.case for r in readers}
    threads = [threading.Thread(target=_walk, args=(url, visit, together, others)) for visit in visits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [v.session for v in visits]
    if len(set(ids)) != len(ids):
        visits[0].complaints.append("two readers share a session")
    return visits


def _walk(url: str, visit: Visit, together: threading.Barrier, cases: set[str]) -> None:
    reader = visit.reader
    view = {
        "where": list(reader.where),
        "case": reader.case,
        "colour": reader.colour,
        "stage": reader.stage,
        "order": reader.order,
    }
    try:
        with Session(url, **view) as session:
            visit.session = session.id
            together.wait(300)
            for page in WALK:
                session.go(page)
                if page == "retrieval" and session.has("run-retrieval"):
                    _look(visit, session, page)
                    session.press("run-retrieval")
                _look(visit, session, page)
            _check_export(visit, session, cases - {reader.case})
    except Exception as error:
        together.abort()
        visit.complaints.append(f"{type(error).__name__}: {error}")


def _look(visit: Visit, session: Session, page: str) -> None:
    """The page has no error and shows this reader's own view."""
    reader, said = visit.reader, session.words()
    visit.seconds.append((page or "cohort", session.seconds))
    visit.bytes_received.append((page or "cohort", session.bytes_received))
    visit.complaints += [f"{page}: {error}" for error in session.errors()]
    if f"{reader.patients} of " not in said and f"{reader.patients} patients" not in said:
        visit.complaints.append(f"{page}: not the {reader.patients} patients of {reader.where}")
    kept = {"where": list(reader.where), "case": [reader.case], "colour": [reader.colour]}
    visit.complaints += [
        f"{page}: {name} is {session.view().get(name)}, not {value}"
        for name, value in kept.items()
        if value and session.view().get(name) != value
    ]


def _check_export(visit: Visit, session: Session, others: set[str]) -> None:
    """Among the results that were seen are this reader's neighbours, and nobody else's."""
    titles = [line for line in session.words().splitlines() if "eighbours of " in line]
    if not any(visit.reader.case in title.replace("\\", "") for title in titles):
        visit.complaints.append(f"export: no neighbours of {visit.reader.case}")
    seen = [o for o in others for t in titles if t.replace("\\", "").endswith(f"of {o}")]
    visit.complaints += [f"export: neighbours of {other}, of another reader" for other in seen]
