"""A reporting checklist filled from a study's results, after CLEAR and TRIPOD+AI.

CLEAR: Kocak et al., Insights Imaging 2023, doi 10.1186/s13244-023-01415-8 (58 items). TRIPOD+AI: Collins et al., BMJ
2024, doi 10.1136/bmj-2023-078378 (27 items). The topics are theirs, drawn together; their numbering is not. An item
is answered by the results, by the authors' own statement in the study file, or said not to be provided: the program
claims nothing that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.audits.pretraining import NONE

if TYPE_CHECKING:
    import pandas as pd

    from analysis.report.cohorts import Cohorts
    from analysis.report.flow import Flow
    from analysis.report.records import Record
    from analysis.report.study import Study

ANSWERED, STATED, MISSING = "answered", "stated by the authors", "not provided"

# what only authors can say, and may say in the study file
STATEMENTS = {
    "background": "scientific and clinical background",
    "design": "study design: retrospective or prospective, consecutive or selected",
    "eligibility": "criteria of inclusion and exclusion",
    "setting": "centres, dates of recruitment, end of follow-up",
    "ethics": "approval, consent, protection of data",
    "source": "where images and clinical data come from, their licence",
    "acquisition": "scanners, protocol, contrast, reconstruction",
    "segmentation": "who drew the masks, with what, how reliably",
    "reference": "how the stage, label or outcome was established, and by whom",
    "treatment": "treatments received",
    "sample_size": "how the number of patients came about",
    "protocol": "protocol and registration",
    "fairness": "how groups that may be treated unequally were considered",
    "involvement": "involvement of patients and the public",
    "funding": "funding and the funders' role",
    "conflicts": "conflicts of interest",
    "data_sharing": "where the data can be had",
    "code_sharing": "where code and settings can be had; settings, versions and hashes are in the report, whether the "
    "code is shared the authors say",
    "interpretation": "findings in the light of earlier work, use in practice",
}


@dataclass(frozen=True)
class Item:
    """One line: what is asked, how it stands, the answer, where to look."""

    topic: str
    status: str
    answer: str
    where: str


@dataclass(frozen=True)
class Evidence:
    """What answers are taken from."""

    study: Study
    cohorts: Cohorts
    flow: Flow
    records: Sequence[Record]
    specs: Sequence[Mapping[str, Any]]

    def of(self, kind: str) -> list[Record]:
        """The sections of a kind that have an answer."""
        return [r for r in self.records if r.kind == kind and not r.failed]


Answer = tuple[str, str]  # the answer and where it stands; empty where there is none


def checklist(evidence: Evidence) -> tuple[Item, ...]:
    """Every item in the order of a paper."""
    return tuple(_item(evidence, *row) for row in _ITEMS)


def checklist_table(items: Sequence[Item]) -> pd.DataFrame:
    import pandas as pd

    columns = ["topic", "status", "answer", "where"]
    return pd.DataFrame([[getattr(i, c) for c in columns] for i in items], columns=columns)


def _item(e: Evidence, topic: str, statement: str, answer: Callable[[Evidence], Answer]) -> Item:
    text, where = answer(e)
    stated = e.study.statements.get(statement, "").strip() if statement else ""
    if stated:
        both = f"{stated} {text}".strip()
        return Item(topic, STATED, both, f"study file{', ' + where if text and where else ''}")
    if text:
        return Item(topic, ANSWERED, text, where)
    asked = STATEMENTS.get(statement)
    remedy = f" (statements.{statement} in the study file takes it)" if statement else ""
    return Item(topic, MISSING, f"not provided by this tool: {asked or topic.lower()}{remedy}", "")


def _nothing(_: Evidence) -> Answer:
    return "", ""


def _title(e: Evidence) -> Answer:
    return e.study.title, "title"


def _objective(e: Evidence) -> Answer:
    return e.study.question, "summary"


def _eligible(e: Evidence) -> Answer:
    if not e.study.where:
        return "", ""
    return f"Filter on the clinical table: {', '.join(e.study.where)}.", "flow of patients"


def _overlap(e: Evidence) -> Answer:
    found = [o for r in e.of("audit") for o in r.facts.get("overlap", [])]
    said = dict.fromkeys(
        "the encoder was not pretrained"
        if o["status"] == NONE
        else f"{o['collection']}: {o['status']} ({o['patients']} patients)"
        for o in found
    )
    return ("; ".join(said) + "." if said else ""), "audit"


def _preprocessing(e: Evidence) -> Answer:
    parts = []
    for spec in e.specs:
        recipe = spec.get("recipe")
        if isinstance(recipe, dict):
            how = f"recipe {recipe.get('name')}, written out in the specification"
        else:
            how = f"recipe {recipe}" if recipe else "vectors made elsewhere"
        parts.append(f"{spec.get('name')}: {how}")
    return "; ".join(parts) + ".", "reproducibility"


def _features(e: Evidence) -> Answer:
    parts = [
        f"{name}: {c.X.shape[1]} dimensions"
        + (" with names" if c.feature_names else "")
        + f", encoder {c.encoder or 'not recorded'}"
        for name, c in e.cohorts.by_name.items()
    ]
    return "; ".join(parts) + ".", "summary, reproducibility"


def _predictors(e: Evidence) -> Answer:
    return clinical_predictors(e.study)


def clinical_predictors(study: Study) -> Answer:
    """The adjusters of every section that takes some, each with the table or the embedding that it comes from."""
    asked = []
    for section, title in ((study.gradient, "stage gradient"), (study.survival, "survival")):
        if section is not None and (own := study.adjust if section.adjust is None else section.adjust):
            asked.append((title, own))
    names = list(dict.fromkeys(name for _, own in asked for name in own))
    clinical = [n for n in names if ":" not in n]
    said = [f"{', '.join(clinical)} of the clinical table"] if clinical else []
    said += [f"{n.partition(':')[2]} of the embedding {n.partition(':')[0]}" for n in names if ":" in n]
    return (f"Adjusters: {'; '.join(said)}." if said else ""), ", ".join(title for title, _ in asked)


def _missing_values(e: Evidence) -> Answer:
    lost = sum(count for leaf in e.flow.leaves for _, count in leaf.lost)
    return (
        "Complete cases in each analysis; nothing is imputed. "
        f"Exclusions over all analyses, a patient counted in each: {lost}.",
        "flow of patients",
    )


def _methods_of(*kinds: str) -> Callable[[Evidence], Answer]:
    def found(e: Evidence) -> Answer:
        held = [r for kind in kinds for r in e.of(kind)]
        if not held:
            return "", ""
        return "Described with every number in the methods paragraph of each section.", _titles(held)

    return found


def _titles(records: Sequence[Record]) -> str:
    return "; ".join(dict.fromkeys(r.title for r in records))


def _power(e: Evidence) -> Answer:
    parts = []
    for r in e.of("gradient"):
        least = r.facts.get("minimum_detectable_concordance")
        if least is not None:
            parts.append(
                f"{r.title}: a concordance of {least:.3f} could have been detected with 80 % power, n = {r.n}"
            )
    return ("; ".join(parts) + "." if parts else ""), "stage gradient"


def _imbalance(e: Evidence) -> Answer:
    held = [
        r for r in e.of("probe") if (r.facts.get("learner"), r.facts.get("task")) == ("linear", "classify")
    ]
    return (
        "Classes weigh alike in the probes, which are judged by balanced metrics." if held else ""
    ), _titles(held)


def _confounders(e: Evidence) -> Answer:
    verdicts = [f"{r.title}: {r.verdict}" for r in e.of("audit")]
    adjusted = [r for r in e.of("gradient") if r.facts.get("adjusters")]
    verdicts += [f"{r.title}: {r.facts['adjusters']['verdict']}" for r in adjusted]
    return ("; ".join(verdicts) + "." if verdicts else ""), "audit, stage gradient"


def _testing(e: Evidence) -> Answer:
    held = [r for r in e.records if not r.failed and r.kind in ("gradient", "probe", "survival")]
    if not held:
        return "", ""
    external = [r for r in e.of("gradient") if r.facts.get("transport")]
    text = "Cross-validation by patient, everything learnt inside the training folds. "
    text += (
        f"An axis of another cohort was applied unchanged in: {_titles(external)}."
        if external
        else "No external test."
    )
    return text, _titles(held)


def _uncertainty(e: Evidence) -> Answer:
    with_ci = [r for r in e.records if any(f.interval for f in r.figures_now)]
    without = [r for r in e.records if not r.failed and r not in with_ci]
    text = f"95 % intervals in: {_titles(with_ci)}." if with_ci else ""
    if without:
        text += f" None in: {_titles(without)}."
    return text.strip(), "summary"


def _compared(e: Evidence) -> Answer:
    pairs = [r for r in e.of("gradient") if r.facts.get("comparison")]
    if not pairs:
        return "", ""
    return "Embeddings compared on the same patients and folds, Holm-corrected.", _titles(pairs)


def _against_clinic(e: Evidence) -> Answer:
    parts = [
        f"{r.title}: adjusters alone {a['baseline_concordance']:.3f}, with the embedding "
        f"{a['combined_concordance']:.3f}"
        for r in e.of("gradient")
        if (a := r.facts.get("adjusters"))
    ]
    parts += [f"{r.title}: {f.name} {f.value}" for r in e.of("survival") for f in r.figures_now[1:]]
    return ("; ".join(parts) + "." if parts else ""), "stage gradient, survival"


def _calibration(e: Evidence) -> Answer:
    held = [r for r in e.of("probe") if r.facts.get("calibration")]
    return ("Calibration of predicted against observed." if held else ""), _titles(held)


def _described(_: Evidence) -> Answer:
    return "Characteristics of all patients, and by stage where a stage is given.", "patients"


def _flow(e: Evidence) -> Answer:
    return f"{e.flow.verdict}; drawn with every reason.", "flow of patients"


def _performance(e: Evidence) -> Answer:
    held = [r for r in e.records if not r.failed]
    failed = [r for r in e.records if r.failed]
    text = f"{len(held)} of {len(e.records)} analyses answered"
    return f"{text}; not answered: {_titles(failed)}." if failed else f"{text}.", "summary"


def _groups(e: Evidence) -> Answer:
    held = [r for r in e.of("audit") if r.facts.get("leave_one_group_out")]
    return ("Each group (site) left out of the learning in turn." if held else ""), _titles(held)


def _duplicates(e: Evidence) -> Answer:
    audits = e.of("audit")
    if not audits:
        return "", ""
    most = max(len(r.facts.get("duplicates", [])) for r in audits)
    images = " and their images" if any(r.facts.get("images_compared") for r in audits) else ""
    text = f"Duplicates were looked for among the vectors and file hashes{images}: {most} suspected pairs."
    return text if images else f"{text} Images were not compared (audit.near_images does).", "audit"


def _code(e: Evidence) -> Answer:
    if not e.study.statements.get("code_sharing", "").strip():
        return "", ""  # what the program records is not what the authors share
    return "Settings, versions and hashes are in the report.", "reproducibility"


def _licence(e: Evidence) -> Answer:
    said = [f"{n}: {c.licence or 'licence not recorded'}" for n, c in e.cohorts.by_name.items()]
    return "; ".join(said) + ".", "title page"


def _limits(_: Evidence) -> Answer:
    return "What the analyses do not claim, and every section's warnings.", "limits"


_ITEMS: tuple[tuple[str, str, Callable[[Evidence], Answer]], ...] = (
    ("Title", "", _title),
    ("Background and rationale", "background", _nothing),
    ("Objective", "", _objective),
    ("Study design", "design", _nothing),
    ("Setting and dates", "setting", _nothing),
    ("Eligibility", "eligibility", _eligible),
    ("Treatments", "treatment", _nothing),
    ("Ethics", "ethics", _nothing),
    ("Source of data", "source", _nothing),
    ("Overlap with pretraining and other data", "", _overlap),
    ("Duplicates and leaks", "", _duplicates),
    ("Imaging protocol", "acquisition", _nothing),
    ("Segmentation", "segmentation", _nothing),
    ("Preprocessing", "", _preprocessing),
    ("Features (embeddings)", "", _features),
    ("Reference standard, outcome", "reference", _nothing),
    ("Clinical predictors", "", _predictors),
    ("Sample size", "sample_size", _power),
    ("Missing data", "", _missing_values),
    ("Models, training and tuning", "", _methods_of("gradient", "probe", "survival")),
    ("Class imbalance", "", _imbalance),
    ("Handling of confounders", "", _confounders),
    ("Testing", "", _testing),
    ("Metrics", "", _methods_of("gradient", "probe", "retrieve", "survival")),
    ("Uncertainty", "", _uncertainty),
    ("Statistical comparison of models", "", _compared),
    ("Comparison with clinical predictors", "", _against_clinic),
    ("Calibration", "", _calibration),
    ("Heterogeneity over groups", "", _groups),
    ("Fairness", "fairness", _nothing),
    ("Baseline characteristics", "", _described),
    ("Flow of patients", "", _flow),
    ("Performance", "", _performance),
    ("Limits of the methods", "", _limits),
    ("Interpretation and use", "interpretation", _nothing),
    ("Funding", "funding", _nothing),
    ("Conflicts of interest", "conflicts", _nothing),
    ("Protocol and registration", "protocol", _nothing),
    ("Sharing of data", "data_sharing", _nothing),
    ("Sharing of code and settings", "code_sharing", _code),
    ("Sharing of the model, licence", "", _licence),
    ("Involvement of patients and the public", "involvement", _nothing),
)  # fmt: skip
