"""Words and table rows of controls, path, transport, outcome and comparison; every number from the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.gradient.words import interval_text, p_text

if TYPE_CHECKING:
    from analysis.gradient.outcome import CoxModel, Outcome
    from analysis.gradient.result import StageGradientResult
    from analysis.gradient.trajectory import Trajectory
    from analysis.results import Interval

TableRow = tuple[str, str, float | None, "Interval | None", float | None, str, int | str]


def further_lines(r: StageGradientResult) -> list[str]:
    """Lines of the summary."""
    lines = _control_lines(r)
    if r.trajectory is not None:
        lines.append(_path_line(r.trajectory))
    if (t := r.transport) is not None:
        home = (
            ""
            if t.axis_concordance is None
            else f"; at home {t.axis_concordance:.3f} ({interval_text(t.axis_ci)})"
        )
        lines.append(
            f"Transport (axis of {t.axis_cohort or 'another cohort'}, n = {t.axis_n}, frozen): concordance "
            f"{t.concordance:.3f} ({interval_text(t.ci)}), {p_text(t.p_value, t.permutations)}{home}. "
            f"{_sentence(t.verdict)}"
        )
    if (o := r.outcome) is not None:
        lines.append(f"Outcome ({o.events} events of {o.n}): {o.verdict}.")
        lines += [f"  Cox, {m.name}: {_cox_text(m)}." for m in o.models]
        if o.held_out_gain is not None:
            lines.append(
                f"  C-index gained by the score in held-out patients ({o.models[-1].name}): {o.held_out_gain:+.3f}."
            )
    if (c := r.comparison) is not None:
        lines.append(f"Comparison on {c.n} patients: {c.verdict}.")
        lines += [
            f"  {pair.first} − {pair.second}: {pair.difference:+.3f} ({interval_text(pair.ci, 3)}), "
            f"{_normal_p(pair.p_value)}, Holm {_normal_p(pair.p_holm)}."
            for pair in c.pairs
        ]
    return lines


def _control_lines(r: StageGradientResult) -> list[str]:
    lines = []
    for key, name in (("random_weights", "Random weights"), ("size_only", "Size alone")):
        control = r.controls.get(key)
        if control and "concordance" in control:
            lines.append(
                f"Control, {name.lower()} ({control['description']}): concordance {control['concordance']:.3f} "
                f"({interval_text(control['ci'])}), {p_text(control['p_value'], control['permutations'])}; the "
                f"embedding's less this: {control['difference']:+.3f} "
                f"({interval_text(control['difference_ci'], 3)})."
            )
    readable = [f for f in r.controls.get("readability", []) if f["p_holm"] < r.alpha]
    if readable:
        said = ", ".join(f"{f['name']} ({f['metric']} {f['value']:.2f})" for f in readable)
        lines.append(f"Readable from the embedding: {said}.")
    return lines


def _path_line(t: Trajectory) -> str:
    angles = ", ".join(f"{a:.0f}°" for a in t.turning_angles)
    turns = f", turning by {angles}" if angles else ""
    straight = "" if t.straightness is None else f" (straightness {t.straightness:.2f})"
    return (
        f"Path of the stages in the plane: {t.path_length:.2f} SD long, {t.end_to_end:.2f} SD end to end"
        f"{straight}{turns}."
    )


def _cox_text(m: CoxModel) -> str:
    gain = (
        ""
        if m.c_index_gain is None
        else f", C-index {m.c_index_without_score:.3f} → {m.c_index:.3f} ({m.c_index_gain:+.3f})"
    )
    return (
        f"hazard ratio {m.hazard_ratio:.2f} per SD ({interval_text(m.ci)}), {_normal_p(m.p_value)}"
        + (gain or f", C-index {m.c_index:.3f}")
        + f"; {m.events_per_variable:.1f} events per variable"
    )


def further_methods(r: StageGradientResult) -> list[str]:
    """Paragraphs of the methods text."""
    parts = []
    if r.parameters.get("refits") == "per-fold factors":
        parts.append(
            "**Size of the cohort.** With this many patients no n × n matrix of the refits was formed: factors of "
            "each fold's d × d Gram matrix were kept and applied to blocks of permuted stages, which gives the "
            "same scores."
        )
    parts.append(_control_methods(r))
    if (t := r.trajectory) is not None:
        parts.append(
            "**Path of the stages.** Stage centroids are shown in the plane of the stage axis (out-of-fold score) "
            "and the first principal component of the standardised embedding orthogonal to it "
            f"({100 * t.explained_variance:.0f} % of the variance there). 95 % ellipses: {t.draws} bootstrap "
            "samples of the patients of each stage in the fixed plane, widened along the axis to the interval of "
            f"the mean score. Path length {t.path_length:.2f}, end-to-end distance {t.end_to_end:.2f} within-stage "
            "SD; in the whole space, with the centroids' sampling noise taken off, "
            f"{_number(t.space_path_length)} and {_number(t.space_end_to_end)}."
        )
    if (f := r.transport) is not None:
        parts.append(
            f"**Transport.** A stage axis learnt from {f.axis_n} patients of {f.axis_cohort or 'another cohort'} "
            f"(stages {', '.join(f.axis_order)}; sha256 {f.axis_sha256[:12]}) was applied unchanged to these {f.n} "
            f"patients. p: {f.permutations} permutations of the stage with fixed scores "
            f"({p_text(f.p_value, f.permutations)}); the 95 % interval is a score interval with the jackknife "
            f"variance; it estimates the {f.estimand}. Result: {f.concordance:.3f} ({interval_text(f.ci, 3)})."
        )
    if r.outcome is not None:
        parts.append(_outcome_methods(r.outcome))
    if (c := r.comparison) is not None:
        shown = "; ".join(f"{e.name} {e.concordance:.3f} ({interval_text(e.ci, 3)})" for e in c.embeddings)
        parts.append(
            f"**Comparison.** On the same {c.n} patients, folds and {c.permutations} permutations: {shown}. "
            "Differences of concordance are paired; the variance of a difference is that of fixed scores "
            "(jackknife) and what learning the axes adds, each at its own concordance, correlated as under joint "
            "permutation. Two-sided p from Student's t with n − 1 degrees of freedom, Holm's "
            f"correction over {len(c.pairs)} pairs."
        )
    return parts


def _control_methods(r: StageGradientResult) -> str:
    null = r.controls["permuted_stage"]
    text = (
        f"**Controls.** A permuted stage gave a concordance of {null['concordance']:.3f} "
        f"(p = {null['p_value']:.2f})."
    )
    for key, name in (("random_weights", "a random-weight encoder"), ("size_only", "size alone")):
        control = r.controls.get(key) or {}
        if "concordance" in control:
            text += (
                f" The axis of {name} ({control['embedding_id']}, {control['dimensions']} dimensions, "
                f"n = {control['n']}) reached {control['concordance']:.3f} ({interval_text(control['ci'], 3)})."
            )
        elif "skipped" in control:
            text += f" {name[0].upper()}{name[1:]}: {control['skipped']}."
    fields = r.controls.get("readability", [])
    if fields:
        shown = "; ".join(
            f"{f['name']} {f['metric']} {f['value']:.2f} ({interval_text(f['ci'])})" for f in fields
        )
        text += (
            " Recorded fields were read from the embedding by the same cross-fitted ridge (categories: mean "
            "one-against-rest AUC; numbers: squared correlation of the held-out prediction; 199 permutations with "
            f"refits): {shown}."
        )
    return text


def _outcome_methods(o: Outcome) -> str:
    unit = f" in {o.unit}" if o.unit else ""
    event = f"{o.event} = {o.event_value}" if o.event_value else o.event
    models = "; ".join(
        f"{m.name}: {_cox_text(m)}, proportional hazards p = {m.proportional_hazards_p:.2g}" for m in o.models
    )
    held = (
        ""
        if o.held_out_gain is None
        else f" In held-out patients ({o.held_out_folds}) the C-index gained was {o.held_out_gain:+.3f}."
    )
    return (
        f"**Outcome.** {o.duration}{unit} to {event}: {o.events} events among {o.n} patients (median time "
        f"{o.median_follow_up:g}). Cox models (lifelines, Efron ties) of the out-of-fold stage score in standard "
        "deviations; stage as categories, numbers as natural cubic splines; Harrell's C-index in the patients "
        f"fitted; scaled Schoenfeld residuals against ranked time. {models}.{held}"
    )


def further_rows(r: StageGradientResult) -> list[TableRow]:
    """Rows of the table of estimates."""
    rows: list[TableRow] = []
    null = r.controls["permuted_stage"]
    draws = f"{r.trend.permutations} draws"
    rows.append(
        ("control", "concordance of a permuted stage", null["concordance"], None, null["p_value"], draws, r.n)
    )
    for key, name in (("random_weights", "random weights"), ("size_only", "size alone")):
        control = r.controls.get(key) or {}
        if "concordance" in control:
            test = f"permutation with refit, {control['permutations']} draws"
            rows += [
                ("control", f"concordance of {name}", control["concordance"], control["ci"], control["p_value"],
                 test, control["n"]),
                ("control", f"embedding − {name}", control["difference"], control["difference_ci"],
                 control["difference_p"], "paired, two-sided", control["n"]),
            ]  # fmt: skip
    rows += [
        ("readability", f"{f['metric']} of {f['name']}", f["value"], f["ci"], f["p_value"],
         "permutation with refit, 199 draws", f["n"])
        for f in r.controls.get("readability", [])
    ]  # fmt: skip
    rows += [
        (
            "leave one group out",
            f"concordance without {g['group']}",
            g["concordance"],
            None,
            None,
            "",
            g["n_left"],
        )
        for g in r.controls.get("leave_one_group_out", [])
    ]
    return rows + _path_rows(r) + _later_rows(r)


def _path_rows(r: StageGradientResult) -> list[TableRow]:
    t = r.trajectory
    if t is None:
        return []
    rows: list[tuple[str, float | None]] = [
        ("path length (SD)", t.path_length),
        ("end-to-end distance (SD)", t.end_to_end),
        ("straightness", t.straightness),
        *(
            (f"turning angle at {label} (°)", a)
            for label, a in zip(r.order[1:-1], t.turning_angles, strict=True)
        ),
        ("path length in the whole space, noise-free", t.space_path_length),
        ("end-to-end distance in the whole space, noise-free", t.space_end_to_end),
    ]
    return [("path", name, value, None, None, "", r.n) for name, value in rows]


def _later_rows(r: StageGradientResult) -> list[TableRow]:
    rows: list[TableRow] = []
    if (t := r.transport) is not None:
        test = f"permutation with fixed scores, {t.permutations} draws"
        rows.append(
            ("transport", "concordance of the frozen axis", t.concordance, t.ci, t.p_value, test, t.n)
        )
        rows.append(("transport", "Kendall tau-b of the frozen axis", t.kendall_tau, None, None, "", t.n))
    if (o := r.outcome) is not None:
        for m in o.models:
            rows += [
                ("outcome", f"hazard ratio per SD, {m.name}", m.hazard_ratio, m.ci, m.p_value, "Wald", o.n),
                ("outcome", f"C-index, {m.name}", m.c_index, None, None, "", o.n),
                ("outcome", f"C-index gained, {m.name}", m.c_index_gain, None, m.likelihood_ratio_p,
                 "likelihood ratio", o.n),
                ("outcome", f"proportional hazards, {m.name}", None, None, m.proportional_hazards_p,
                 "Schoenfeld residuals", o.n),
            ]  # fmt: skip
        rows.append(("outcome", "C-index gained, held out", o.held_out_gain, None, None, "", o.n))
    if (c := r.comparison) is not None:
        for e in c.embeddings:
            rows.append(
                ("comparison", f"concordance of {e.name}", e.concordance, e.ci, e.p_holm, "Holm", c.n)
            )
        for pair in c.pairs:
            name = f"{pair.first} − {pair.second}"
            rows.append(
                ("comparison", name, pair.difference, pair.ci, pair.p_value, "paired, two-sided", c.n)
            )
            rows.append(("comparison", f"{name}, Holm", None, None, pair.p_holm, "Holm", c.n))
    return rows


def _normal_p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"


def _number(value: Any) -> str:
    return "not measurable" if value is None else f"{value:.2f}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
