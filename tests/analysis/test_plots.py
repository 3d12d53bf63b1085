from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import project, retrieval_metrics, stage_gradient
from analysis.plots import enlarged, theme
from analysis.plots.projection import colouring, projection_map, projection_map_source
from analysis.plots.retrieval import metrics_against_random, metrics_against_random_source
from analysis.plots.stage_gradient import (
    adjusters_panel,
    adjusters_panel_source,
    permutation_null,
    permutation_null_source,
    scores_by_stage,
    scores_by_stage_source,
    steps_forest,
    steps_forest_source,
)
from analysis.results import Provenance
from flexict_core.errors import AnalysisError

ORDER = ["I", "II", "III", "IV"]
PT, MM = 96 / 72, 96 / 25.4


def synthetic(result: Any) -> Any:
    return replace(result, provenance=replace(result.provenance, synthetic=True))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(0)
    code = np.arange(60) % 4
    size = 10 + 8 * code + rng.normal(size=60) * 8
    X = rng.normal(size=(60, 8))
    X[:, 0] += code
    X[:, 1] += size / 8
    return X, np.array(ORDER)[code], pd.DataFrame({"tumour_diameter_mm": size})


@pytest.fixture(scope="module")
def gradient(data: Any) -> Any:
    X, stage, adjust = data
    return synthetic(stage_gradient(X, stage, order=ORDER, adjust=adjust, permutations=99))


@pytest.fixture(scope="module")
def pca(data: Any) -> Any:
    return project(data[0], method="pca", patient_id=[f"p{i}" for i in range(60)])


@pytest.fixture(scope="module")
def retrieval(data: Any) -> Any:
    return synthetic(retrieval_metrics(data[0], data[1]))


@pytest.fixture(scope="module")
def figures(gradient: Any, pca: Any, retrieval: Any, data: Any) -> dict[str, Any]:
    return {
        "scores": scores_by_stage(gradient),
        "steps": steps_forest(gradient),
        "adjusters": adjusters_panel(gradient),
        "null": permutation_null(gradient),
        "map": projection_map(pca, data[1], label="stage", order=ORDER),
        "map of a number": projection_map(pca, data[2]["tumour_diameter_mm"], label="diameter (mm)"),
        "retrieval": metrics_against_random(retrieval),
    }


def lengths(value: Any, key: str, within: str = "") -> list[float]:
    """Every `within`.`key` of a figure, templates included."""
    found = []
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key and within in ("font", "tickfont", "line", "error_x", "error_y"):
                found.append((within, item))
            found += lengths(item, key, name)
    elif isinstance(value, list | tuple):
        for item in value:
            found += lengths(item, key, within)
    return found


NAMES = ["scores", "steps", "adjusters", "null", "map", "map of a number", "retrieval"]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_follows_the_rules_of_a_journal(figures: dict[str, Any], name: str) -> None:
    fig = figures[name]
    assert fig.layout.width == pytest.approx(89 * MM)
    assert fig.layout.height <= 170 * MM
    told = fig.to_dict()
    sizes = [size / PT for where, size in lengths(told, "size") if where in ("font", "tickfont")]
    assert min(sizes) == pytest.approx(5)
    assert max(sizes) == pytest.approx(7)
    widths = [width / PT for where, width in lengths(told, "width") if where == "line"]
    assert widths == [] or (min(widths) >= 0.25 - 1e-9 and max(widths) <= 1 + 1e-9)
    assert fig.layout.title.text is None
    for axis in [a for a in fig.layout if a.startswith(("xaxis", "yaxis"))]:
        assert not fig.layout[axis].showgrid
    assert fig.layout.template.layout.xaxis.showgrid is False
    assert fig.layout.xaxis.title.text
    assert fig.layout.meta["caption"]
    assert all(trace.type in ("scatter", "bar") for trace in fig.data)


@pytest.mark.parametrize("name", NAMES)
def test_notes_and_stamp_fit_the_page(figures: dict[str, Any], name: str) -> None:
    fig = figures[name]
    stamp = next(a for a in fig.layout.annotations if a.name == "stamp")
    assert "Research use only" in stamp.text
    assert ("Synthetic data" in stamp.text) == (not name.startswith("map"))
    notes = next(a for a in fig.layout.annotations if a.name == "notes")
    lines = notes.text.split("<br>")
    assert "n = " in notes.text or "queries" in notes.text or "permutation" in notes.text
    assert max(theme.text_mm(line, 5.5) for line in lines) <= 86
    room = fig.layout.margin.b / MM
    assert room >= len(lines) * 5.5 * 1.3 * 25.4 / 72 + 5 * 1.3 * 25.4 / 72


def test_every_p_names_its_test_and_every_estimate_its_interval_and_n(
    figures: dict[str, Any], gradient: Any
) -> None:
    def notes(name: str) -> str:
        text = next(a.text for a in figures[name].layout.annotations if a.name == "notes")
        return text.replace("<br>", " ")

    t, a = gradient.trend, gradient.adjusters
    assert f"Concordance {t.concordance:.3f} (95 % interval {t.ci[0]:.3f} to {t.ci[1]:.3f})" in notes(
        "scores"
    )
    assert "permutation test with 99 refits" in notes("scores")
    assert "n = 60" in notes("scores")
    assert "p: permutation test with 99 refits" in notes("steps")
    for words in (
        "(conditional randomisation)",
        "(Freedman–Lane)",
        a.verdict,
        "n = 60",
        "tumour_diameter_mm",
    ):
        assert words in notes("adjusters")
    assert "jackknife over patients" in notes("retrieval")


# --- what is drawn is what the result holds ------------------------------------------------------------------


def test_scores_by_stage_draws_every_patient_once(gradient: Any) -> None:
    fig, source = scores_by_stage(gradient), scores_by_stage_source(gradient)
    drawn = {(p, x, y) for t in fig.data[:4] for p, x, y in zip(t.customdata, t.x, t.y, strict=True)}
    patients = source[source["element"] == "patient"]
    assert drawn == set(patients[["patient_id", "x", "value"]].itertuples(index=False, name=None))
    assert sorted(patients["value"]) == sorted(gradient.scores)
    offset = patients["x"].to_numpy() - gradient.stage_codes
    assert offset.min() >= -0.31
    assert offset.max() <= 0.11  # the cloud ends left of its mean
    means = source[source["element"] == "mean"]
    assert means["value"].tolist() == [s.mean_score for s in gradient.stages]
    assert means["n"].tolist() == [15, 15, 15, 15]
    low = fig.data[-1].y - np.array(fig.data[-1].error_y.arrayminus)
    np.testing.assert_allclose(low, means["ci_low"], atol=1e-12)
    fit = source[source["element"] == "isotonic fit"]
    assert tuple(fit["value"]) == gradient.strict.isotonic == tuple(fig.data[4].y)
    assert fig.layout.xaxis.ticktext[0] == "I<br>n = 15"


def test_steps_forest_draws_differences_and_p(gradient: Any) -> None:
    fig, source = steps_forest(gradient), steps_forest_source(gradient)
    assert source["difference"].tolist() == [s.difference for s in gradient.steps] == list(fig.data[0].x)
    assert source["p_value"].tolist() == [s.p_value for s in gradient.steps]
    printed = [a.text for a in fig.layout.annotations if a.text.startswith("p ")]
    assert len(printed) == 3
    high = np.array(fig.data[0].x) + np.array(fig.data[0].error_x.array)
    np.testing.assert_allclose(high, source["ci_high"])
    assert list(fig.layout.yaxis.ticktext) == [
        f"{a} → {b}<br>n = 15, 15" for a, b in itertools.pairwise(ORDER)
    ]


def test_adjusters_stand_beside_the_embedding(gradient: Any, data: Any) -> None:
    fig, source = adjusters_panel(gradient), adjusters_panel_source(gradient)
    a = gradient.adjusters
    values = dict(zip(source["estimate"], source["value"], strict=True))
    assert values["Embedding"] == gradient.trend.concordance
    assert values["Adjusters alone"] == a.baseline_concordance
    assert values["Embedding within strata"] == a.stratified_concordance
    assert values["added by the score"] == a.added_value
    assert [t.x[0] for t in fig.data] == source["value"].tolist()
    assert fig.data[-1].xaxis == "x2"
    unadjusted = stage_gradient(data[0], data[1], order=ORDER, permutations=99)
    with pytest.raises(AnalysisError, match="without adjusters"):
        adjusters_panel(unadjusted)


def test_the_null_is_counted_and_the_observed_marked(gradient: Any) -> None:
    fig, source = permutation_null(gradient), permutation_null_source(gradient)
    bars = source[source["element"] == "permutations"]
    assert bars["count"].sum() == len(gradient.null_concordance) == 99
    for low, high, count in bars[["from", "to", "count"]].itertuples(index=False):
        inside = (gradient.null_concordance >= low) & (gradient.null_concordance < high)
        assert inside.sum() in (count, count - 1)  # the last bin includes its upper edge
    assert list(fig.data[1].x) == [gradient.trend.concordance] * 2
    assert fig.layout.xaxis.range[1] > gradient.trend.concordance


def test_retrieval_stands_beside_chance(retrieval: Any) -> None:
    fig, source = metrics_against_random(retrieval), metrics_against_random_source(retrieval)
    assert list(fig.data[1].x) == [m.mean for m in retrieval.metrics.values()] == source["mean"].tolist()
    assert list(fig.data[0].x) == [m.random for m in retrieval.metrics.values()]


def test_an_estimate_without_interval_gets_no_bar() -> None:
    trace = theme.interval_trace([1.0, 2.0], [0, 1], [None, (1.5, 3.0)], along="x")
    assert list(trace.error_x.array) == [None, 1.0]
    assert list(trace.error_x.arrayminus) == [None, 0.5]


# --- the map -------------------------------------------------------------------------------------------------


def test_every_point_of_the_map_carries_its_patient(pca: Any, data: Any) -> None:
    fig = projection_map(pca, data[1], label="stage", order=ORDER)
    where = {p: (x, y) for t in fig.data for p, x, y in zip(t.customdata, t.x, t.y, strict=True)}
    assert len(where) == 60
    assert all(where[p] == tuple(pca.coordinates[i]) for i, p in enumerate(pca.patient_id))
    assert [t.name for t in fig.data] == [f"{s} (n = 15)" for s in ORDER]
    assert len({t.marker.symbol for t in fig.data}) == 4
    assert fig.layout.yaxis.scaleanchor == "x"
    assert f"PC 1 ({100 * pca.explained_variance[0]:.1f} % of variance)" in fig.layout.xaxis.title.text
    note = next(a.text for a in fig.layout.annotations if a.name == "notes")
    assert f"Trustworthiness {pca.trustworthiness:.3f}, continuity {pca.continuity:.3f}" in note


def test_missing_values_are_grey_and_counted(pca: Any) -> None:
    values: list[Any] = ["S1", "S2"] * 30
    values[3] = None
    fig = projection_map(pca, values, label="scanner")
    missing = fig.data[0]
    assert missing.name == "missing (n = 1)"
    assert list(missing.customdata) == ["p3"]
    assert missing.marker.color == theme.MISSING_COLOUR
    numbers = np.linspace(0, 1, 60)
    numbers[:2] = np.nan
    fig = projection_map(pca, numbers, label="share")
    assert list(fig.data[0].customdata) == ["p0", "p1"]
    assert len(fig.data[1].marker.color) == 58
    assert any("missing (n = 2)" in str(a.text) for a in fig.layout.annotations)
    source = projection_map_source(pca, numbers, label="share")
    assert source["share"].isna().sum() == 2
    assert source["x"].tolist() == pca.coordinates[:, 0].tolist()


def test_a_column_decides_how_it_is_shown() -> None:
    assert colouring(np.arange(30) / 3, label="x").numbers is not None
    few = colouring([3, 1, 2, 10] * 5, label="x")
    assert few.categories == ("1", "2", "3", "10")
    assert few.ordered
    many = colouring([f"site {i % 20}" for i in range(200)] + ["site 19"] * 30, label="x")
    assert len(many.categories) == 12
    assert many.categories[-1] == "other"
    assert "site 19" in many.categories
    assert many.categories[:3] == ("site 0", "site 1", "site 2")
    stages = colouring(["II", "I", None], label="stage", order=["I", "II", "III"])
    assert stages.categories == ("I", "II")
    assert stages.labels is not None
    assert stages.labels.tolist() == ["II", "I", "missing"]
    with pytest.raises(AnalysisError, match="stage holds 'IV', which the order I, II"):
        colouring(["IV"], label="stage", order=["I", "II"])


def test_webgl_is_for_screens_only(pca: Any) -> None:
    assert projection_map(pca).data[0].type == "scatter"
    assert projection_map(pca, webgl=True).data[0].type == "scattergl"
    with pytest.raises(AnalysisError, match="59 values of scanner for 60 patients"):
        projection_map(pca, ["a"] * 59, label="scanner")


def test_texts_of_users_are_shown_letter_by_letter(pca: Any) -> None:
    fig = projection_map(pca, ["<b>big</b> & bold", "small"] * 30, label="a<b")
    assert "&lt;b&gt;big&lt;/b&gt; &amp; bold (n = 30)" in {t.name for t in fig.data}
    assert fig.layout.legend.title.text == "a&lt;b"


# --- theme ---------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    if colour.startswith("#"):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    else:
        red, green, blue = (float(v) for v in colour[4:-1].split(","))
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_ordered_colours_darken_so_that_they_survive_grey_print(count: int) -> None:
    light = [luminance(c) for c in theme.ordered_colours(count)]
    assert len(light) == count
    assert all(a > b for a, b in itertools.pairwise(light))


def test_categories_differ_by_colour_or_symbol() -> None:
    styles = [theme.category_style(i) for i in range(24)]
    assert len(set(styles)) == 24
    assert len({c for c, _ in styles[:8]}) == len({s for _, s in styles[:8]}) == 8


def test_stamping_twice_changes_nothing_and_says_synthetic_only_where_it_is() -> None:
    fig = theme.blank(panel_mm=30)
    height = fig.layout.height
    theme.stamp(fig, Provenance(synthetic=True))
    once = fig.to_dict()
    theme.stamp(fig, Provenance(synthetic=True))
    assert fig.to_dict() == once
    assert theme.is_stamped(fig)
    assert fig.layout.height > height
    theme.stamp(fig, Provenance())
    assert [a.text for a in fig.layout.annotations] == ["Research use only"]


def test_a_foreign_figure_can_be_stamped() -> None:
    import plotly.graph_objects as go

    fig = theme.stamp(go.Figure(go.Scatter(x=[1], y=[2])), Provenance(synthetic=True))
    assert theme.is_stamped(fig)
    assert fig.layout.height > 450


def test_another_width_wraps_the_notes_anew(gradient: Any) -> None:
    single = scores_by_stage(gradient)
    double = theme.set_width(single, "double")
    assert double.layout.width == pytest.approx(183 * MM)
    assert single.layout.width == pytest.approx(89 * MM)
    assert double.layout.height < single.layout.height
    back = theme.set_width(double, "single")
    assert [a.text for a in back.layout.annotations] == [a.text for a in single.layout.annotations]
    assert back.layout.height == pytest.approx(single.layout.height)
    assert back.layout.margin.b == pytest.approx(single.layout.margin.b)
    with pytest.raises(AnalysisError, match="choose single, double, slide"):
        theme.set_width(single, "wide")  # type: ignore[arg-type]


def test_the_screen_shows_the_same_figure_enlarged(gradient: Any) -> None:
    fig = scores_by_stage(gradient)
    screen = enlarged.for_screen(fig, 2)
    assert screen.layout.width == 2 * fig.layout.width
    assert screen.layout.margin.b == 2 * fig.layout.margin.b
    assert screen.data[0].marker.size == 2 * fig.data[0].marker.size
    assert (
        screen.layout.template.layout.xaxis.tickfont.size
        == 2 * fig.layout.template.layout.xaxis.tickfont.size
    )
    assert screen.layout.annotations[0].yshift == 2 * fig.layout.annotations[0].yshift
    np.testing.assert_array_equal(screen.data[0].y, fig.data[0].y)
    assert list(screen.layout.xaxis.range) == list(fig.layout.xaxis.range)


@pytest.mark.parametrize("text", ["Concordance 0.838 (95 % interval 0.785 to 0.880)", "WIDE MW", "fill it"])
def test_text_width_is_not_underestimated(text: str) -> None:
    """Against the metrics of DejaVu Sans, which ships with matplotlib and is wider than Arial."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    wide = TextPath((0, 0), text, size=6, prop=FontProperties(family="DejaVu Sans")).get_extents().width
    estimate = theme.text_mm(text, 6) * 72 / 25.4
    assert 0.8 * wide < estimate < 1.15 * wide


def test_wrapping_keeps_p_and_its_value_together() -> None:
    lines = theme.wrapped("Beyond them: p = 0.012 (conditional randomisation), 95 % interval", 20, 5.5)
    assert any("p = 0.012" in line for line in lines)
    assert any("95 % interval" in line or "95 %" in line for line in lines)
    assert " ".join(lines) == "Beyond them: p = 0.012 (conditional randomisation), 95 % interval"


def test_panel_letters_are_8_pt_bold(gradient: Any) -> None:
    letter = theme.panel_letter(scores_by_stage(gradient), "a").layout.annotations[-1]
    assert letter.text == "<b>a</b>"
    assert letter.font.size == pytest.approx(8 * PT)
