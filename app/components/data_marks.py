"""Badges for data that say nothing of patients: synthetic ones, and those of random or test weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.results import Provenance


def show_data_marks(of: Cohort | Provenance, *, capitals: bool = False) -> None:
    """One badge each, none of real data from real weights."""
    synthetic, untrained = "synthetic data", "random or test weights"
    if of.synthetic:
        st.badge(synthetic.upper() if capitals else synthetic, icon=":material/science:", color="orange")
    if of.weights_caution:
        st.badge(untrained.upper() if capitals else untrained, icon=":material/casino:", color="red")
