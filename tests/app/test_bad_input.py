"""Every mistake a user can make: exit status, one clear line that names thing, value and remedy, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from app.cli import main
from flexict_core.store import EmbeddingStore

SHAPE = (24, 22, 20)
Run = Callable[..., "Answer"]


class Answer:
    """Exit status, stdout, and the lines of stderr of one call."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err.splitlines()

    def fails_with(self, *words: str) -> None:
        """Status 2 and a single line that holds each of the words."""
        assert self.status == 2, self.err
        assert len(self.err) == 1, self.err
        self._says(self.err[0], words)

    def quarantines(self, patient: str, *words: str) -> None:
        """Status 3, the patient's line holds each of the words, the last line says where the quarantine is."""
        assert self.status == 3, self.err
        (line,) = [text for text in self.err if f"quarantined: patient {patient!r}" in text]
        self._says(line, words)
        assert self.err[-1].endswith("quarantine.parquet")
        assert Path(self.err[-1].split(": ", 1)[1]).is_file()

    def _says(self, line: str, words: tuple[str, ...]) -> None:
        for word in words:
            assert word in line, line
        assert "Traceback" not in "".join([*self.err, self.out])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        return Answer(status, *capsys.readouterr())

    return call


def _ct(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    body = np.full(SHAPE, -1000.0)
    body[3:-3, 3:-3, 3:-3] = 40.0
    return (body + rng.normal(0, 12, SHAPE)).astype(np.int16)


def _ball(radius: float = 5.0) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij"))
    return (np.sqrt((grid**2).sum(axis=0)) < radius).astype(np.uint8)


def _save(path: Path, array: np.ndarray, *, spacing: float = 2.0) -> Path:
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with one good patient, `good`; the tests add a bad one."""
    folder = tmp_path / "scans"
    folder.mkdir()
    _save(folder / "good.nii.gz", _ct())
    _save(folder / "good_mask.nii.gz", _ball())
    return folder


def _embed(run: Run, folder: Path, image: str, mask: str = "good_mask.nii.gz", *, label: str = "") -> Answer:
    """Embed the good patient and a patient `bad` with these files; the good one must be in the store."""
    (folder / "manifest.csv").write_text(
        f"patient_id,image,mask,mask_label\ngood,good.nii.gz,good_mask.nii.gz,\nbad,{image},{mask},{label}\n"
    )
    store = folder / "store"
    answer = run("embed", "--manifest", folder / "manifest.csv", "--store", store, "--workers", 0, "--quiet")
    assert EmbeddingStore(store).read("baseline").rows["patient_id"].tolist() == ["good"]
    assert answer.out == ""
    return answer


def test_a_missing_file(run: Run, scans: Path) -> None:
    _embed(run, scans, "absent.nii.gz").quarantines("bad", "absent.nii.gz", "does not exist")


def test_a_truncated_file(run: Run, scans: Path) -> None:
    whole = (scans / "good.nii.gz").read_bytes()
    (scans / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    _embed(run, scans, "half.nii.gz").quarantines("bad", "half.nii.gz", "truncated")


@pytest.mark.parametrize(("shape", "says"), [((24, 22), "2D"), ((*SHAPE, 2), "4-dimensional")])
def test_an_image_that_is_no_volume(run: Run, scans: Path, shape: tuple[int, ...], says: str) -> None:
    _save(scans / "odd.nii.gz", np.zeros(shape, dtype=np.int16))
    _embed(run, scans, "odd.nii.gz").quarantines("bad", "odd.nii.gz", says)


def test_nan_voxels(run: Run, scans: Path) -> None:
    image = _ct().astype(np.float32)
    image[5, 5, 5] = np.nan
    _save(scans / "nan.nii.gz", image)
    _embed(run, scans, "nan.nii.gz").quarantines("bad", "nan.nii.gz", "NaN")


def test_values_that_are_not_hu(run: Run, scans: Path) -> None:
    _save(scans / "grey.nii.gz", np.clip((_ct() + 1000) / 8, 0, 255).astype(np.uint8))
    _embed(run, scans, "grey.nii.gz").quarantines("bad", "grey.nii.gz", "not HU")


@pytest.mark.shared_data
def test_values_that_are_not_hu_in_a_real_file(run: Run, scans: Path, shared: Path) -> None:
    (scans / "pitch.nii.gz").write_bytes((shared / "data/ct/niivue/CT_pitch.nii.gz").read_bytes())
    _embed(run, scans, "pitch.nii.gz", "").quarantines("bad", "pitch.nii.gz", "not HU")


def test_a_mask_on_another_grid(run: Run, scans: Path) -> None:
    _save(scans / "wide.nii.gz", _ball(), spacing=3.0)
    _embed(run, scans, "good.nii.gz", "wide.nii.gz").quarantines("bad", "wide.nii.gz", "grid")


@pytest.mark.shared_data
def test_a_mask_on_another_grid_in_real_files(run: Run, scans: Path, shared: Path) -> None:
    for name in ("ct_cropped.nii.gz", "heart.nii.gz"):
        (scans / name).write_bytes((shared / "data/ct/totalsegmentator/pulmonary" / name).read_bytes())
    _embed(run, scans, "ct_cropped.nii.gz", "heart.nii.gz").quarantines("bad", "heart.nii.gz", "grid")


def test_an_empty_mask(run: Run, scans: Path) -> None:
    _save(scans / "empty.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    _embed(run, scans, "good.nii.gz", "empty.nii.gz").quarantines("bad", "empty.nii.gz", "empty")


def test_a_mask_label_that_is_not_there(run: Run, scans: Path) -> None:
    _embed(run, scans, "good.nii.gz", label="7").quarantines("bad", "good_mask.nii.gz", "7")


def test_a_path_out_of_the_folder(run: Run, scans: Path) -> None:
    _embed(run, scans, "../../secret.nii.gz").quarantines("bad", "'../../secret.nii.gz'", "outside")


def test_a_repaired_row_leaves_quarantine(run: Run, scans: Path) -> None:
    _embed(run, scans, "late.nii.gz").quarantines("bad", "late.nii.gz")
    _save(scans / "late.nii.gz", _ct(seed=1))
    manifest, store = scans / "manifest.csv", scans / "store"
    answer = run("embed", "--manifest", manifest, "--store", store, "--workers", 0, "--quiet")
    assert (answer.status, answer.err) == (0, [])
    assert EmbeddingStore(store).read("baseline").rows["patient_id"].tolist() == ["bad", "good"]
    assert EmbeddingStore(store).quarantine("baseline").empty


def test_duplicate_rows_of_a_manifest(run: Run, scans: Path) -> None:
    _save(scans / "other.nii.gz", _ct(seed=2))
    lines = ["patient_id,image", "good,good.nii.gz", "twin,good.nii.gz", "twin,other.nii.gz"]
    (scans / "manifest.csv").write_text("\n".join(lines))
    store = scans / "store"
    answer = run("embed", "--manifest", scans / "manifest.csv", "--store", store, "--workers", 0, "--quiet")
    assert answer.status == 3
    assert sum("'twin'" in line and "lines 3, 4" in line for line in answer.err) == 2
    assert EmbeddingStore(store).read("baseline").rows["patient_id"].tolist() == ["good"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("patient,image\n", ("no column", "'patient_id'")),
        ("patient_id,image\n", ("no rows",)),
        ("", ("patient_id",)),
    ],
)
def test_a_manifest_that_is_none(run: Run, scans: Path, text: str, says: tuple[str, ...]) -> None:
    (scans / "manifest.csv").write_text(text)
    run("embed", "--manifest", scans / "manifest.csv", "--store", scans / "store").fails_with(
        "manifest.csv", *says
    )
    assert not (scans / "store").exists()


def test_an_absent_manifest(run: Run, tmp_path: Path) -> None:
    answer = run("embed", "--manifest", tmp_path / "no.csv", "--store", tmp_path / "s")
    answer.fails_with("no.csv", "does not exist")


@pytest.mark.parametrize("name", ["flexict-3d", "flexict-2d", "flexict-3d-vlm"])
def test_an_encoder_without_its_weights(
    run: Run, scans: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable in [v for v in os.environ if v.startswith("FLEXICT_") and v.endswith("CHECKPOINT")]:
        monkeypatch.delenv(variable)
    (scans / "manifest.csv").write_text("patient_id,image\ngood,good.nii.gz\n")
    call = ("embed", "--manifest", scans / "manifest.csv", "--store", scans / "store", "--encoder", name)
    run(*call).fails_with(name, "weights", "--checkpoint")
    run(*call, "--checkpoint", scans / "no.safetensors").fails_with("no.safetensors")
    (scans / "broken.safetensors").write_bytes(b"\x00" * 64)
    run(*call, "--checkpoint", scans / "broken.safetensors").fails_with("broken.safetensors")
    assert not (scans / "store").exists()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--encoder", "flexict-4d", ("'flexict-4d'", "baseline")),
        ("--recipe", "defualt", ("'defualt'", "default")),
        ("--shard", "3/2", ("'3/2'", "1/4")),
        ("--shard", "half", ("'half'", "1/4")),
        ("--workers", "-1", ("--workers", "-1")),
        ("--device", "tpu", ("'tpu'", "cuda")),
    ],
)
def test_options_of_embed(run: Run, scans: Path, option: str, value: str, says: tuple[str, ...]) -> None:
    (scans / "manifest.csv").write_text("patient_id,image\ngood,good.nii.gz\n")
    call = ("embed", "--manifest", scans / "manifest.csv", "--store", scans / "store", option, value)
    run(*call).fails_with(*says)


@pytest.fixture
def study(tmp_path: Path, run: Run) -> Path:
    """A store of 24 patients P00 … P23 and a clinical table with eight of each stage."""
    rng = np.random.default_rng(5)
    ids = [f"P{i:02d}" for i in range(24)]
    vectors = pd.DataFrame(rng.normal(size=(24, 4)), columns=[f"f{i}" for i in range(4)])
    vectors.insert(0, "pid", ids)
    vectors.to_csv(tmp_path / "vectors.csv", index=False)
    stages = np.repeat(["I", "II", "III"], 8)
    table = pd.DataFrame({"pid": ids, "stage": stages, "size_mm": rng.normal(30, 5, 24), "note": ids})
    table.to_csv(tmp_path / "clinical.csv", index=False)
    call = ("import", "--vectors", tmp_path / "vectors.csv", "--id", "pid", "--name", "net")
    assert run(*call, "--store", tmp_path / "store").status == 0
    return tmp_path


def _analyse(run: Run, study: Path, command: str = "gradient", **options: object) -> Answer:
    """A call that would do, but for the options given; an option of None is left out."""
    given: dict[str, object] = {
        "store": study / "store",
        "clinical": study / "clinical.csv",
        "id": "pid",
        "out": study / "out",
    }
    if command == "gradient":
        given |= {"stage": "stage", "order": "I,II,III", "permutations": 99}
    given |= {name.replace("_", "-"): value for name, value in options.items()}
    words = [w for name, value in given.items() if value is not None for w in (f"--{name}", value)]
    return run(command, *words, "--quiet", "--no-figures")


def _edit(study: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = study / "clinical.csv"
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)


def test_duplicate_ids_of_the_clinical_table(run: Run, study: Path) -> None:
    _edit(study, lambda t: pd.concat([t, t.iloc[[3]]]))
    _analyse(run, study).fails_with("clinical.csv", "'P03 (2 rows)'", "one row a patient")
    assert not (study / "out").exists()


def test_an_id_in_only_one_table(run: Run, study: Path) -> None:
    _edit(study, lambda t: t.assign(pid=t["pid"].replace("P03", "X99")))
    answer = _analyse(run, study)
    assert (answer.status, answer.err) == (0, [])
    result = json.loads((study / "out/gradient.json").read_text())
    assert result["n"] == 23
    assert any("'P03'" in w and "not in clinical.csv" in w for w in result["warnings"])
    assert any("'X99'" in w and "not in the embedding" in w for w in result["warnings"])
    left_out = pd.read_csv(study / "out/left_out.csv")
    assert left_out["patient_id"].tolist() == ["P03", "X99"]


def test_no_id_in_common(run: Run, study: Path) -> None:
    _edit(study, lambda t: t.assign(pid=t["pid"].str.replace("P", "case_")))
    _analyse(run, study).fails_with("'P00', 'P01'", "'case_00', 'case_01'", "--id-replace 'case_=P'")
    assert _analyse(run, study, id_replace="case_=P").status == 0


def test_a_stage_missing_from_the_order(run: Run, study: Path) -> None:
    _analyse(run, study, order="I,III").fails_with("'stage'", "'I,III'", "'II' (8)", '--where "stage!=II"')
    assert not (study / "out").exists()
    assert _analyse(run, study, order="I,III", where="stage!=II").status == 0


def test_fewer_than_two_usable_stages(run: Run, study: Path) -> None:
    _analyse(run, study, where="stage=I").fails_with("two stages", "I: 8")
    _edit(study, lambda t: t.assign(stage=np.where(t.index < 2, "I", "II")))
    _analyse(run, study).fails_with("two stages", "I: 2", "II: 22")


def test_missing_stages_are_left_out_and_counted(run: Run, study: Path) -> None:
    _edit(study, lambda t: t.assign(stage=t["stage"].mask(t.index == 4, "NA")))
    assert _analyse(run, study).status == 0
    result = json.loads((study / "out/gradient.json").read_text())
    assert result["n"] == 23
    assert any("stage is missing" in w and "'P04'" in w for w in result["warnings"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stage": "Stage"}, ("'Stage'", "did you mean 'stage'")),
        ({"id": "patient"}, ("'patient'", "clinical.csv")),
        ({"adjust": "size"}, ("'size'", "did you mean 'size_mm'")),
        ({"adjust": "feature:f9"}, ("'f9'", "it holds 'f0'")),
        ({"adjust": "stage"}, ("'stage'", "the stage itself")),
        ({"adjust": "note"}, ("'note'", "24 different values", "group")),
        ({"group": "site"}, ("'site'",)),
        ({"embedding": "nte"}, ("'nte'", "did you mean 'net'")),
        ({"order": "I"}, ("'I'", "two or more")),
        ({"where": "stage=IV"}, ("'IV'", "'III'")),
        ({"where": "stage"}, ("'stage'", "COLUMN=VALUE")),
        ({"permutations": 5}, ("--permutations", "99")),
        ({"store": "nowhere"}, ("'nowhere'", "does not exist")),
        ({"clinical": "nowhere.csv"}, ("'nowhere.csv'", "does not exist")),
        ({"stage": None}, ("--stage", "flexict gradient --help")),
    ],
)
def test_options_of_gradient(
    run: Run, study: Path, options: dict[str, object], says: tuple[str, ...]
) -> None:
    _analyse(run, study, **options).fails_with("flexict gradient: error: ", *says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ("--label", "--query")),
        ({"text": "spiculated nodule"}, ("'spiculated nodule'", "no text tower")),
        ({"query": "P99"}, ("'P99'", "did you mean 'P")),
        ({"label": "stge"}, ("'stge'", "did you mean 'stage'")),
        ({"label": "stage", "protocol": "random"}, ("'random'", "published")),
        ({"query": "P01", "k": 24}, ("24", "23")),
    ],
)
def test_options_of_retrieve(
    run: Run, study: Path, options: dict[str, object], says: tuple[str, ...]
) -> None:
    _analyse(run, study, "retrieve", **options).fails_with("flexict retrieve: error: ", *says)


@pytest.mark.parametrize("command", ["gradient", "project", "retrieve"])
def test_older_results_are_not_written_over(run: Run, study: Path, command: str) -> None:
    (study / "out").mkdir()
    (study / "out" / f"{command}.json").write_text("older")
    options = {"label": "stage"} if command == "retrieve" else {}
    _analyse(run, study, command, **options).fails_with(f"{command}.json", "--overwrite")
    assert (study / "out" / f"{command}.json").read_text() == "older"


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("pid,f1\nA,1\n", ("--id", "ID"), ("'ID'", "did you mean 'pid'")),
        ("pid,f1\nA,1\nB,2\n", ("--id", "pid", "--columns", "f1,f2"), ("'f2'", "it holds 'pid', 'f1'")),
        ("pid,f1\nA,1\nB,2\n", ("--id", "pid", "--prefix", "deep_"), ("'deep_'",)),
        ("pid,f1\nA,x\nB,2\n", ("--id", "pid", "--columns", "f1"), ("'f1'", "not numeric")),
    ],
)
def test_options_of_import(
    run: Run, tmp_path: Path, text: str, options: tuple[str, ...], says: tuple[str, ...]
) -> None:
    (tmp_path / "v.csv").write_text(text)
    call = ("import", "--vectors", tmp_path / "v.csv", "--name", "n", "--store", tmp_path / "s", *options)
    run(*call).fails_with(*says)


def test_a_gap_in_imported_vectors_goes_to_quarantine(run: Run, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("pid,f1,f2\n01,1,2\n02,,4\n03,5,7\n")
    call = (
        "import",
        "--vectors",
        tmp_path / "v.csv",
        "--id",
        "pid",
        "--name",
        "n",
        "--store",
        tmp_path / "s",
    )
    run(*call, "--quiet").quarantines("02", "f1")
    assert EmbeddingStore(tmp_path / "s").read("n").rows["patient_id"].tolist() == ["01", "03"]


@pytest.mark.parametrize("call", [("frobnicate",), ("list",), ("list", "--stor", "x"), ("embed", "extra")])
def test_a_wrong_call(run: Run, call: tuple[str, ...]) -> None:
    run(*call).fails_with("flexict", "--help")


def test_no_traceback_from_the_real_program(tmp_path: Path) -> None:
    """The installed entry point as a user starts it."""
    program = Path(sys.executable).with_name("flexict")
    done = subprocess.run(
        [program, "list", "--store", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("flexict list: error: store ")
    assert done.stderr.count("\n") == 1
