"""The stage gradient's verdict: words first, then the few numbers that carry it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.components.data_marks import show_data_marks
from app.components.plain_text import literal

if TYPE_CHECKING:
    from analysis.results import Interval
    from analysis.stage_gradient import StageGradientResult

_TONES = {  # icon and colour; the words are always written beside them
    "strictly increasing": ("check_circle", "green"),
    "trend, steps not all established": ("trending_up", "blue"),
    "trend with a reversed step": ("swap_vert", "orange"),
    "no trend detected": ("horizontal_rule", "gray"),
    "beyond adjusters": ("check_circle", "green"),
    "explained by adjusters": ("straighten", "orange"),
    "cannot tell": ("help", "gray"),
}


def show_verdict(result: StageGradientResult) -> None:
    """The verdict in words, the trend with its test, and the adjusters' own concordance beside it."""
    trend, adjusters = result.trend, result.adjusters
    with st.container(border=True, key="verdict"):
        with st.container(horizontal=True, gap="small"):
            _badge(result.strict.verdict)
            if adjusters is not None:
                _badge(adjusters.verdict)
            show_data_marks(result.provenance)
        st.markdown(f"#### {literal(result.verdict[:1].upper() + result.verdict[1:])}.")
        patients, embedding, alone, added = st.columns(4, gap="small")
        with patients:
            _number("Patients", str(result.n), ", ".join(f"{s.label}: {s.n}" for s in result.stages))
        with embedding:
            _number(
                "Concordance of the embedding",
                f"{trend.concordance:.3f}",
                f"{_interval(trend.ci)}; {p_value(trend.p_value, trend.permutations)}, permutation test with "
                f"{trend.permutations:,} refits; Kendall τ-b {trend.kendall_tau:.2f}",
            )
        with alone:
            if adjusters is None:
                _number("Adjusters", "none", "choose some above to see what size or scanner explain")
            else:
                _number(
                    "Concordance of the adjusters alone",
                    f"{adjusters.baseline_concordance:.3f}",
                    f"{', '.join(adjusters.columns)}; {_interval(adjusters.baseline_ci)}, cross-fitted",
                )
        with added:
            if adjusters is not None:
                _number(
                    "Added by the embedding",
                    f"{adjusters.added_value:+.3f}",
                    f"{_interval(adjusters.added_value_ci)}; beyond the adjusters "
                    f"{p_value(adjusters.p_conditional, trend.permutations)} (conditional randomisation), "
                    f"{p_value(adjusters.p_freedman_lane, trend.permutations)} (Freedman–Lane)",
                )
        if adjusters is not None and adjusters.disagreement:
            st.warning(literal(adjusters.disagreement), icon=":material/rule:")


def _badge(verdict: str) -> None:
    icon, colour = _TONES.get(verdict, ("label", "gray"))
    st.badge(verdict, icon=f":material/{icon}:", color=colour)  # type: ignore[arg-type]


def _number(label: str, value: str, note: str) -> None:
    with st.container(gap=None):
        st.caption(literal(label))
        st.markdown(f"### {literal(value)}")
        st.caption(literal(note))


def _interval(ci: Interval | None) -> str:
    return "no interval" if ci is None else f"95 % interval {ci[0]:.3f} to {ci[1]:.3f}"


def p_value(p: float, draws: int) -> str:
    """p with its floor, as the result's own words put it."""
    from analysis.gradient.words import p_text

    return p_text(p, draws)
