"""Figures of controls, path, power, transport, outcome and comparison draw the numbers of the result, no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import stage_gradient
from analysis.plots import (
    gradient_comparison,
    gradient_controls,
    gradient_outcome,
    gradient_power,
    gradient_trajectory,
    gradient_transport,
)
from analysis.plots.forest import ForestRow, forest
from analysis.plots.theme import MM, TALLEST_MM
from analysis.stage_gradient import StageGradientResult
from flexict_core.errors import AnalysisError

ORDER = ["I", "II", "III"]


def cohort(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.arange(66) % 3)
    X = rng.standard_normal((66, 8))
    X[:, 0] += 1.2 * code
    return X, np.array(ORDER)[code], code


@pytest.fixture(scope="module")
def full() -> StageGradientResult:
    X, stage, code = cohort(1)
    rng = np.random.default_rng(2)
    adjust = pd.DataFrame(
        {
            "longest_diameter_of_the_tumour_in_three_dimensions": code + rng.standard_normal(66),
            "sex": rng.integers(0, 2, 66),
        }
    )
    other = cohort(3)
    result = stage_gradient(
        X,
        stage,
        order=ORDER,
        permutations=99,
        adjust=adjust,
        groups=np.array(["north", "south"])[rng.integers(0, 2, 66)],
        axis=stage_gradient(other[0], other[1], order=ORDER, permutations=99).axis,
        duration=rng.exponential(np.exp(-0.5 * X[:, 0])) + 0.01,
        event=rng.integers(0, 2, 66),
        against={"noise": rng.standard_normal((66, 5))},
    )
    return replace(result, provenance=replace(result.provenance, synthetic=True))


PLOTS = [
    (gradient_controls.controls_forest, gradient_controls.controls_forest_source),
    (gradient_controls.readability_forest, gradient_controls.readability_forest_source),
    (gradient_trajectory.trajectory_plane, gradient_trajectory.trajectory_plane_source),
    (gradient_power.power_plot, gradient_power.power_plot_source),
    (gradient_transport.transport_forest, gradient_transport.transport_forest_source),
    (gradient_transport.transport_stages, gradient_transport.transport_stages_source),
    (gradient_outcome.outcome_forest, gradient_outcome.outcome_forest_source),
    (gradient_comparison.comparison_forest, gradient_comparison.comparison_forest_source),
    (gradient_comparison.differences_forest, gradient_comparison.differences_forest_source),
]


@pytest.mark.parametrize(("draw", "source"), PLOTS)
def test_every_number_drawn_stands_in_the_source(full: StageGradientResult, draw: Any, source: Any) -> None:
    figure, table = draw(full), source(full)
    numbers = table.select_dtypes("number").to_numpy().ravel()
    numbers = numbers[np.isfinite(numbers)]
    for trace in figure.data:
        if trace.name and (trace.name.startswith("95 % ellipse") or trace.name == "observed"):
            continue  # an outline follows from the semi-axes and the angle; a line spans the panel
        for value in trace.x:
            assert np.abs(numbers - float(value)).min() < 1e-12
    assert figure.layout.height / MM <= TALLEST_MM
    stamp = next(a.text for a in figure.layout.annotations if a.name == "stamp")
    assert stamp == "Synthetic data · Research use only"
    assert figure.layout.meta["caption"]


def test_intervals_drawn_are_those_of_the_result(full: StageGradientResult) -> None:
    assert full.outcome is not None
    for trace, model in zip(gradient_outcome.outcome_forest(full).data, full.outcome.models, strict=True):
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(model.ci[1])
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(model.ci[0])
    table = gradient_comparison.differences_forest_source(full)
    assert full.comparison is not None
    assert table["value"].tolist() == [p.difference for p in full.comparison.pairs]
    assert table["p_value"].tolist() == [p.p_holm for p in full.comparison.pairs]


def test_a_log_axis_shows_every_interval_whole(full: StageGradientResult) -> None:
    figure = gradient_outcome.outcome_forest(full)
    low, high = (10**v for v in figure.layout.xaxis.range)
    assert full.outcome is not None
    assert all(low < m.ci[0] and m.ci[1] < high for m in full.outcome.models)


def test_one_sd_has_one_length_on_both_axes_of_the_plane(full: StageGradientResult) -> None:
    layout = gradient_trajectory.trajectory_plane(full).layout
    assert (layout.yaxis.scaleanchor, layout.yaxis.scaleratio) == ("x", 1)
    assert full.trajectory is not None
    for axis, values in ((layout.xaxis, full.scores), (layout.yaxis, full.trajectory.across)):
        assert axis.range[0] < values.min()
        assert values.max() < axis.range[1]


def test_names_that_are_long_or_markup_stay_names() -> None:
    rows = [
        ForestRow("a_very_long_name_of_a_column_without_any_space", 0.5, None),
        ForestRow("<b>x</b>", 1.0, (0.5, 2.0)),
    ]
    figure = forest(rows, title="t", nothing=0.0)
    assert figure.layout.margin.l / MM < 40
    assert "&lt;b&gt;" in figure.layout.yaxis.ticktext[1]
    joined = figure.layout.yaxis.ticktext[0].replace("<br>", "")
    assert joined == rows[0].label


def test_what_was_not_asked_for_is_not_drawn() -> None:
    X, stage, _ = cohort(1)
    plain = stage_gradient(X, stage, order=ORDER, permutations=99)
    for draw in (gradient_transport.transport_forest, gradient_outcome.outcome_forest,
                 gradient_comparison.comparison_forest, gradient_controls.readability_forest):  # fmt: skip
        with pytest.raises(AnalysisError):
            draw(plain)


def test_words_and_table_hold_the_numbers_of_every_section(full: StageGradientResult) -> None:
    assert full.transport is not None
    assert full.outcome is not None
    assert full.comparison is not None
    assert full.trajectory is not None
    for text in (full.summary(), full.methods_text()):
        assert f"{full.transport.concordance:.3f}" in text
        assert f"{full.outcome.models[0].hazard_ratio:.2f} per SD" in text
        assert f"{full.trajectory.path_length:.2f}" in text
    assert all(f"{p.difference:+.3f}" in full.summary() for p in full.comparison.pairs)
    table = full.table().set_index("estimate")
    assert table.loc["concordance of the frozen axis", "value"] == full.transport.concordance
    assert table.loc["hazard ratio per SD, score alone", "value"] == full.outcome.models[0].hazard_ratio
    assert table.loc["embedding − noise", "value"] == full.comparison.pairs[0].difference
    assert table.loc["straightness", "value"] == full.trajectory.straightness


def test_many_fields_with_long_names_still_fit_a_page() -> None:
    X, stage, _ = cohort(2)
    rng = np.random.default_rng(0)
    names = [f"wavelet-LLH_firstorder_SomethingThatTakesSeveralLines_{i}" for i in range(25)]
    table = pd.DataFrame(rng.normal(size=(len(X), 25)), columns=names)
    result = stage_gradient(X, stage, order=ORDER, permutations=99, adjust=table[names[:1]])
    every = [{**result.controls["readability"][0], "name": n, "p_holm": 1.0} for n in names]
    many = replace(result, controls={**result.controls, "readability": every})
    figure = gradient_controls.readability_forest(many)
    drawn = len(gradient_controls.readability_forest_source(many))
    assert figure.layout.height / MM <= TALLEST_MM
    assert 1 < drawn == len(figure.data) < 25
    assert f"{25 - drawn} more less readable fields are in the table." in figure.layout.meta["caption"]
