"""The study file: what is read, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report.cohorts import load_cohorts
from analysis.report.example import EXAMPLE
from analysis.report.reading import read_study
from analysis.report.study import Audit, Probe
from flexict_core.errors import FlexictError, InputError
from tests.analysis.report.conftest import MINIMAL, config_of


def _error(home: Path, text: str) -> str:
    file = config_of(home, text, "wrong.yaml")
    with pytest.raises(InputError) as caught:
        load_cohorts(read_study(file)[0], file=file.name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_example_is_read_and_paths_begin_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort/clinical.csv").write_text("patient_id\n", encoding="utf-8")
    study, sha256 = read_study(config_of(tmp_path, EXAMPLE))
    assert study.store == tmp_path / "store"
    assert study.clinical == tmp_path / "cohort/clinical.csv"
    assert (study.id, study.where, study.adjust) == (
        "patient_id",
        ("cohort=A",),
        ("tumour_diameter_mm", "scanner"),
    )
    assert study.audit == Audit(permutations=999)
    assert study.probe == (Probe(target="sex"),)
    assert study.gradient is not None
    assert study.gradient.permutations == 9999
    assert study.absolute == ()
    assert len(sha256) == 64


@pytest.mark.parametrize(
    ("order", "read"), [("I,II", "I,II"), ("[I, II]", "I,II"), ("[1, 2+3]", "1,2+3"), ('"1,2"', "1,2")]
)
def test_an_order_is_text_or_a_list(home: Path, order: str, read: str) -> None:
    study, _ = read_study(config_of(home, MINIMAL.replace("I,II,III,IV", order), "order.yaml"))
    assert study.order == read


def test_a_section_may_be_named_alone_or_switched_off(home: Path) -> None:
    study, _ = read_study(config_of(home, MINIMAL + "audit:\nproject: true\nretrieve: false\n", "bare.yaml"))
    assert study.audit == Audit()
    assert study.project is not None
    assert study.retrieve is None
    assert study.survival is None


def test_absolute_paths_are_taken_and_told(home: Path) -> None:
    text = MINIMAL.replace("clinical.csv", str(home / "clinical.csv"))
    study, _ = read_study(config_of(home, text, "absolute.yaml"))
    assert study.clinical == home / "clinical.csv"
    assert study.absolute == ("clinical",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gradeint: {}", ("gradeint is not a key", "did you mean 'gradient'?")),
        (
            "gradient: {permutation: 99}",
            ("gradient.permutation is not a key", "did you mean 'permutations'?"),
        ),
        ("statements: {ethic: yes}", ("statements.ethic", "did you mean 'ethics'?")),
        ("gradient: {permutations: many}", ("gradient.permutations: 'many' is not a whole number",)),
        ("gradient: {permutations: 10}", ("gradient.permutations: 10 is not 99 or more",)),
        ("gradient: {permutations: 0}", ("gradient.permutations: 0 is not 99 or more",)),
        ("gradient: {permutations: 1}", ("gradient.permutations: 1 is not 99 or more",)),
        ("gradient:\n  ? [a, b]\n  : 1", ("line", "keys must be plain words")),
        ("gradient: {permutations: true}", ("true is not a whole number",)),
        ("seed: 1.5", ("seed: 1.5 is not a whole number",)),
        ("project: {method: umpa}", ("project.method: 'umpa'", "did you mean 'umap'?")),
        ("question: yes", ("question: true is not text: write it in quotes",)),
        ("question: 2020-01-01", ("question", "write it in quotes")),
        ("where: {site: ours}", ("where: a section is not a list",)),
        ("survival: {event: dead}", ("survival.duration is missing: add it",)),
        ("audit: [1]", ("audit: a list is not a section",)),
        ("probe: {}", ("probe[1].target is missing",)),
        ("seed: 1\nseed: 2", ("the key 'seed' occurs twice",)),
        ("group: &a site\nadjust: *a", ("aliases", "line")),
        ("question: !!python/object/apply:os.system [date]", ("not readable as YAML",)),
        ("question: [", ("not readable as YAML",)),
        ("gradient: {axis: nowhere.json}", ("gradient.axis: 'nowhere.json' does not exist",)),
        ("gradient: {axis: ../axis.json}", ("'../axis.json' leaves the folder of the study file",)),
        ("adjust: [size_m]", ("adjust: column 'size_m'", "did you mean 'size_mm'?")),
        (
            "survival: {duration: day, event: dead}",
            ("survival.duration: column 'day'", "did you mean 'days'?"),
        ),
        ("probe: [{target: sxe}]", ("probe[1].target: column 'sxe'", "did you mean 'sex'?")),
        ("gradient: {adjust: ['depe:dim']}", ("gradient.adjust", "did you mean 'deep'?")),
        ("order: I,II,III", ("order: column 'stage' holds stages that order", "'IV'")),
        ("where: [site=theirs]", ("where 'site=theirs'", "'other', 'ours'")),
        ("embeddings: [dep]", ("embedding 'dep'", "did you mean 'deep'?")),
        ("embeddings: [deep, deep]", ("one embedding: name it once",)),
        ("embeddings: []", ("holds 2 embeddings", "by embeddings")),
    ],
)
def test_mistakes_name_the_key_the_value_and_the_remedy(
    home: Path, line: str, words: tuple[str, ...]
) -> None:
    key = line.split(":")[0]
    kept = "".join(row + "\n" for row in MINIMAL.splitlines() if not row.startswith(f"{key}:"))
    message = _error(home, kept + line + "\n")
    assert message.startswith("wrong.yaml")
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n", "# only a comment\n"])
def test_a_file_without_keys_is_told_where_to_get_one(home: Path, text: str) -> None:
    assert "--example" in _error(home, text)


def test_what_is_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"title: \xff\xfe\n")
    for name, word in (("a.yaml", "UTF-8"), ("none.yaml", "does not exist"), (".", "is a folder")):
        with pytest.raises(FlexictError, match=word):
            read_study(tmp_path / name)


def test_an_order_without_a_stage_is_refused(home: Path) -> None:
    assert "add stage" in _error(home, MINIMAL.replace("stage: stage\n", ""))
