"""The results that a session has seen, for the Export page: figures are drawn when somebody wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.drawings import Drawing

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.cohort import Cohort
    from analysis.results import Result

_MOST = 40


@dataclass(frozen=True)
class Exhibit:
    """A result that this session has seen, and its figures by name.

    audit: the file that holds, or will hold, the verdict of the audit of its cohort; none for an audit itself.
    """

    title: str
    seen: Result
    drawings: Mapping[str, Drawing] = field(default_factory=dict)
    audit: Path | None = None

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Every figure, drawn once."""
        return {name: drawing.draw() for name, drawing in self.drawings.items()}

    def source(self, name: str) -> pd.DataFrame:
        """The numbers that a figure draws."""
        return self.drawings[name].source()

    @property
    def result(self) -> Result:
        """The result, with the verdict that its cohort's audit has at this moment among its warnings."""
        from analysis.audits.stamp import read_verdict

        said = read_verdict(self.audit)
        if said is None:
            return self.seen
        return replace(self.seen, warnings=(*self.seen.warnings, f"audit of this cohort: {said}"))


def keep_exhibit(
    title: str, *, result: Result, cohort: Cohort, drawings: Sequence[Drawing] = (), stem: str = ""
) -> Exhibit:
    """Remember a result: the last of each title, and the last 40 of all. `stem`: left out of the figures' names."""
    from analysis.audits.stamp import stamp_path

    exhibit = Exhibit(
        title,
        result,
        {drawing.stem.removeprefix(stem): drawing for drawing in drawings},
        None if result.command == "audit" else stamp_path(cohort),
    )
    held = st.session_state.setdefault("_exhibits", {})
    held.pop(title, None)
    held[title] = exhibit
    while len(held) > _MOST:
        del held[next(iter(held))]
    return exhibit


def exhibits() -> dict[str, Exhibit]:
    """Everything this session has seen, oldest first."""
    return dict(st.session_state.get("_exhibits", {}))
