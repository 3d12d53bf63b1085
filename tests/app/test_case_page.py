"""The Case page by AppTest: planes, 3D, patch maps, uploads, words, matched controls, and what is not there."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from flexict_core.encoders.registry import load_encoder
from flexict_core.io import load_mask, load_volume
from flexict_core.preprocess import Recipe
from flexict_core.store import EmbeddingStore

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"
SMALL = Recipe("small", "whole", spacing_mm=2.0, size=64)
ORDER = "I,II,III,IV"
_TOLD = ("patient_id", "root", "image", "mask", "mask_label")
Open = Callable[..., AppTest]


@dataclasses.dataclass(frozen=True)
class Study:
    store: Path
    clinical: Path
    images: Path
    stage: str = "stage"
    order: str = ORDER


@pytest.fixture
def case_page(monkeypatch: pytest.MonkeyPatch) -> Open:
    """A function that opens the Case page of a study with query parameters."""

    def opener(study: Study, **query: Any) -> AppTest:
        values = {"STORE": study.store, "CLINICAL": study.clinical, "ID": "patient_id", "STAGE": study.stage}
        for name, value in {**values, "ORDER": study.order}.items():
            monkeypatch.setenv(f"FLEXICT_APP_{name}", str(value))
        at = AppTest.from_file(str(ROUTER), default_timeout=60)
        at.run()
        at.switch_page("app_pages/case.py")
        at.query_params.update(query)
        return at.run()

    return opener


@pytest.fixture(scope="module")
def patches(planted_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """CTs of 16 planted patients, embedded by a small network with random weights: it has patches."""
    encoder: Any = load_encoder("random-3d", recipe=SMALL, device="cpu")
    held = EmbeddingStore(planted_store.store).read("planted").rows.iloc[::3]
    store = EmbeddingStore.create(tmp_path_factory.mktemp("patches") / "store")
    rows = []
    for row in held.itertuples(index=False):
        volume = load_volume(Path(row.root) / row.image)
        vector = encoder.encode([encoder.prepare(volume, None)])[0]
        rows.append({**{c: getattr(row, c) for c in _TOLD}, "embedding": vector})
    with store.writer({**encoder.spec(), "synthetic": True}, dim=encoder.dim, name="random-3d") as writer:
        writer.add(rows)
    return Study(store.path, planted_store.clinical, planted_store.images)


@pytest.fixture
def planted(planted_store: Any) -> Study:
    return Study(planted_store.store, planted_store.clinical, planted_store.images)


def fine(at: AppTest) -> AppTest:
    assert not at.exception, [e.value for e in at.exception]
    assert not at.error, [e.value for e in at.error]
    return at


def words(at: AppTest) -> str:
    kinds = ("subheader", "markdown", "caption", "info", "warning", "error", "metric")
    return "\n".join(f"{getattr(e, 'label', '')} {e.value}" for k in kinds for e in at.get(k)).replace(
        "\\", ""
    )


def planes(at: AppTest) -> dict[str, Any]:
    (canvas,) = at.get("bidi_component")
    return {p["plane"]: p for p in json.loads(canvas.proto.json)["planes"]}


def cards(at: AppTest) -> list[str]:
    return [b.key.removeprefix("open-") for b in at.button if b.key.startswith("open-")]


def test_planes_say_where_they_are_and_the_link_says_it_too(case_page: Open, planted: Study) -> None:
    at = fine(case_page(planted, case="P-030"))
    told = planes(at)
    assert list(told) == ["axial", "coronal", "sagittal"]
    assert (told["axial"]["index"], told["axial"]["count"]) == (8, 16)
    assert told["axial"]["text"] == "z 24.0 mm (9/16)"
    assert "at" not in at.query_params
    at.select_slider(key="ct-axial").set_value(3).run()
    assert planes(at)["axial"]["index"] == 3
    assert at.query_params["at"].endswith(",9.0")
    again = fine(case_page(planted, case="P-030", at=at.query_params["at"]))
    assert planes(again)["axial"]["index"] == 3
    assert planes(again)["coronal"]["index"] == told["coronal"]["index"]
    nonsense = fine(case_page(planted, case="P-030", at="a,b", window="<b>", shows="x", count="x", level="y"))
    assert planes(nonsense)["axial"]["index"] == 8


def test_the_3d_view_gets_ct_and_mask_and_nothing_from_elsewhere(case_page: Open, planted: Study) -> None:
    at = fine(case_page(planted, case="P-030", shows="3d"))
    (view,) = at.get("component_instance")
    special = {a.key: len(a.bytes) for a in view.proto.special_args}
    assert set(special) == {"ct", "mask"}
    assert all(0 < size < 8_000_000 for size in special.values())
    args = json.loads(view.proto.json_args)
    assert args["name"].startswith("P-030")
    assert "NiiVue" in words(at)
    assert not at.get("bidi_component")
    assert cards(at)  # the similar cases stay


def test_a_store_without_patches_says_so_and_tells_what_it_can(case_page: Open, planted: Study) -> None:
    from analysis import load_cohort
    from analysis.stage_axis_map import axis_of_others

    at = fine(case_page(planted, case="P-030", shows="patches"))
    assert "no patches" in words(at)
    assert planes(at)
    cohort = load_cohort(planted.store, None, planted.clinical, id_column="patient_id")
    axis = axis_of_others(cohort, "P-030", stage="stage", order=ORDER)
    table = at.dataframe[0].value
    expected = (cohort.X[30] - axis.mean) / axis.scale * axis.weights
    shown = dict(zip(table["feature"], table["stages"], strict=True))
    assert shown == pytest.approx(dict(zip(cohort.feature_names or (), expected, strict=True)))
    assert f"{expected.sum():+.2f} stages" in words(at)


def test_the_stage_axis_map_tells_its_parts(case_page: Open, patches: Study) -> None:
    from analysis import load_cohort
    from analysis.stage_axis_map import axis_of_others, patch_share_of_spread

    at = fine(case_page(patches, case="P-030", shows="patches", patches="stage"))
    cohort = load_cohort(patches.store, None, patches.clinical, id_column="patient_id")
    axis = axis_of_others(cohort, "P-030", stage="stage", order=ORDER)
    parts = (cohort.X[10] - axis.mean) / axis.scale * axis.weights
    half = parts.size // 2
    shown = {m.label: m.value for m in at.metric}
    assert shown["Score"] == f"{parts.sum():+.3f}"
    assert shown["Patches (mapped)"] == f"{parts[half:].sum():+.3f}"
    assert shown["CLS (no place)"] == f"{parts[:half].sum():+.3f}"
    share = patch_share_of_spread(axis, cohort.X, pooling="cls_mean")
    assert shown["Share of the spread"] == f"{share:.0%}"
    assert "a negative control in which nothing was learnt" in words(at)  # nobody takes it for a finding
    assert "learnt from 15 patients, without this patient" in words(at)
    grouped = axis_of_others(cohort, "P-030", stage="stage", order=ORDER, group="scanner")
    score = float(grouped.scores(cohort.X[10][None])[0])
    assert f"{score:+.3f}" != shown["Score"]
    within = fine(case_page(patches, case="P-030", shows="patches", patches="stage", group="scanner"))
    assert {m.label: m.value for m in within.metric}["Score"] == f"{score:+.3f}"
    strongest = at.dataframe[0].value
    assert strongest["stages"].abs().is_monotonic_decreasing
    assert at.download_button(key="stage-axis-nifti")


def test_other_maps_and_a_point_outside_the_field(case_page: Open, patches: Study) -> None:
    plain = planes(case_page(patches, case="P-030"))
    pca = fine(case_page(patches, case="P-030", shows="patches"))
    assert "principal components" in words(pca)
    assert planes(pca)["axial"]["src"] != plain["axial"]["src"]
    similar = fine(case_page(patches, case="P-030", shows="patches", patches="similar"))
    assert "Point: x" in words(similar)
    before = planes(similar)["sagittal"]["src"]
    similar.select_slider(key="ct-coronal").set_value(2).run()
    assert planes(similar)["sagittal"]["src"] != before
    without = dataclasses.replace(patches, stage="remark", order="a,b")
    unordered = case_page(without, case="P-030", shows="patches", patches="stage")
    assert "Stage gradient page" in words(fine(unordered))


def test_weights_that_are_not_here_are_told(
    case_page: Open, patches: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = EmbeddingStore(patches.store).read("random-3d")
    store = EmbeddingStore.create(tmp_path / "store")
    spec = {**held.spec, "encoder": "flexict-3d", "checkpoint_sha256": "0" * 64, "negative_control": False}
    for name in ("embedding_id", "format_version", "dim", "name"):
        spec.pop(name)
    with store.writer(spec, dim=held.spec["dim"], name="flexict-3d") as writer:
        columns = ("patient_id", "root", "image", "mask", "mask_label")
        writer.add(
            {**{c: r[c] for c in columns}, "embedding": x}
            for r, x in zip(held.rows.to_dict("records"), held.X, strict=True)
        )
    for name in ("FLEXICT_CHECKPOINT", "FLEXICT_3D_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    at = fine(case_page(dataclasses.replace(patches, store=store.path), case="P-030", shows="patches"))
    assert "FLEXICT_3D_CHECKPOINT" in words(at)
    assert planes(at)  # the CT is shown all the same


def test_matched_controls_are_those_of_the_analysis(case_page: Open, planted: Study) -> None:
    from analysis import load_cohort
    from analysis.matched_neighbours import search_matched

    at = fine(case_page(planted, case="P-030", matched="1", match=["scanner", "diameter_mm"]))
    cohort = load_cohort(planted.store, None, planted.clinical, id_column="patient_id")
    expected = search_matched(cohort, "P-030", match=["scanner", "diameter_mm"], k=5)
    assert cards(at) == expected.neighbours["patient_id"].tolist()
    assert f"Only the {expected.candidates} patients alike in" in words(at)
    assert f"rank {expected.neighbours['rank_among_all'][0]} without matching" in words(at)
    at.toggle(key="view-matched").set_value(False).run()
    assert "matched" not in at.query_params
    assert "without matching" not in words(at)
    nothing = fine(case_page(planted, case="P-030", matched="1"))
    assert "no column to match on" in words(nothing)


def test_why_a_case_matches_is_said_at_every_scale(
    case_page: Open, planted: Study, patches: Study, tmp_path: Path
) -> None:
    import shutil

    store = tmp_path / "both"
    for source in (planted.store, patches.store):
        for folder in source.iterdir():
            if folder.is_dir() and (folder / "spec.json").exists():
                shutil.copytree(folder, store / folder.name)
    identity = next(p.name for p in planted.store.iterdir() if p.name.startswith("planted-"))
    at = fine(case_page(dataclasses.replace(planted, store=store), case="P-030", embedding=identity))
    text = words(at)
    assert "planted (shown here): rank 1 of 47" in text
    assert re.search(r"random-3d: rank \d+ of 15, cosine", text)
    assert "both" in text
    assert "SD)" in text


def test_the_same_level_follows_the_planes(case_page: Open, planted: Study) -> None:
    def thumbnails(at: AppTest) -> list[str]:
        return [image.value[0] for image in at.image]

    at = fine(case_page(planted, case="P-030"))
    centred = thumbnails(at)
    at.select_slider(key="ct-axial").set_value(1).run()
    assert thumbnails(at) == centred
    at.segmented_control(key="view-level").set_value("Same relative position").run()
    moved = thumbnails(fine(at))
    assert all(a != b for a, b in zip(centred, moved, strict=True))
    assert at.query_params["level"] == "relative"


def upload(at: AppTest, *files: tuple[str, bytes]) -> AppTest:
    for widget, (name, content) in zip(at.get("file_uploader"), files, strict=False):
        widget.set_value((name, content, "application/octet-stream"))
    return at.run()


def test_an_uploaded_ct_of_the_store_is_its_own_nearest_case(
    case_page: Open, patches: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    at = fine(case_page(patches, ask="upload"))
    assert "Up to 256 MB" in words(at)
    assert not cards(at)
    content = (patches.images / "P-030.nii.gz").read_bytes()
    fine(upload(at, ("mine.nii.gz", content)))
    held = EmbeddingStore(patches.store).read("random-3d")
    ids = held.rows["patient_id"].to_numpy()
    cosine = held.X.astype(float) @ held.X[ids == "P-030"][0]
    similar = at.dataframe[0].value
    np.testing.assert_allclose(similar["similarity"], np.sort(cosine)[::-1][:5], atol=2e-6)
    assert cards(at) == similar["patient_id"].tolist()
    assert "cosine **1.000**" in words(at)
    assert "mine.nii.gz" in words(at)
    assert planes(at)["axial"]["count"] == 16
    assert list(tmp_path.iterdir()) == []  # nothing stays on the disk
    at.segmented_control(key="view-shows").set_value("Patch map").run()
    assert "principal components" in words(fine(at))
    at.button(key="upload-remove").click().run()
    assert not cards(fine(at))
    left = ("_upload", "_upload-vectors", "_upload-scene", "_upload-tokens")
    assert not any(name in at.session_state for name in left)


def test_an_upload_that_cannot_be_read_or_embedded_says_why(case_page: Open, planted: Study) -> None:
    at = case_page(planted, ask="upload")
    upload(at, ("evil.zip", b"PK nothing"))
    assert not at.exception
    assert "cannot be unpacked" in at.error[0].value
    content = (planted.images / "P-030.nii.gz").read_bytes()
    upload(at, ("mine.nii.gz", content))
    assert "were imported" in words(fine(at))  # the planted vectors have no encoder
    assert planes(at)
    assert not cards(at)


def test_a_mask_makes_an_upload_comparable_with_a_store_of_regions(
    case_page: Open, planted: Study, tmp_path: Path
) -> None:
    baseline: Any = load_encoder("baseline")
    store = EmbeddingStore.create(tmp_path / "store")
    rows = EmbeddingStore(planted.store).read("planted").rows.head(6)
    with store.writer(
        {**baseline.spec(), "feature_names": baseline.feature_names}, dim=baseline.dim, name="baseline"
    ) as out:
        for row in rows.itertuples(index=False):
            volume = load_volume(Path(row.root) / row.image)
            roi = load_mask(Path(row.root) / row.mask, label=1, reference=volume)
            told = {c: getattr(row, c) for c in ("patient_id", "root", "image", "mask", "mask_label")}
            out.add([{**told, "embedding": baseline.encode([baseline.prepare(volume, roi)])[0]}])
    study = dataclasses.replace(planted, store=store.path)
    at = case_page(study, ask="upload")
    ct, mask = ((planted.images / f"P-003{end}.nii.gz").read_bytes() for end in ("", "_mask"))
    upload(at, ("mine.nii.gz", ct))
    assert "Upload its mask too" in words(fine(at))
    upload(at, ("mine.nii.gz", ct), ("drawn.nii.gz", mask))
    assert "Upload its mask too" not in words(fine(at))
    assert cards(at)[0] == "P-003"
    assert "cosine **1.000**" in words(at)


@pytest.mark.shared_data
def test_words_find_the_case_whose_vector_is_theirs(
    case_page: Open, planted: Study, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = shared / "reference" / "flexict"
    monkeypatch.setenv("FLEXICT_VLM_CHECKPOINT", str(reference / "tiny_vlm.pth"))
    monkeypatch.setenv("FLEXICT_TEXT_MODEL", str(reference / "tiny_qwen3"))
    vlm: Any = load_encoder("flexict-3d-vlm", device="cpu")
    sentences = [
        "A small nodule.",
        "A large mass in the left lower lobe.",
        "Clear lungs.",
        "Pleural effusion.",
    ]
    store = EmbeddingStore.create(tmp_path / "store")
    with store.writer({**vlm.spec(), "synthetic": True}, dim=vlm.dim, name="vlm") as writer:
        writer.add(
            {"patient_id": f"P-00{i}", "embedding": x} for i, x in enumerate(vlm.encode_text(sentences))
        )
    study = dataclasses.replace(planted, store=store.path)
    at = fine(case_page(study, ask="words"))
    assert "Write a sentence" in words(at)
    assert "not the published network" in words(at)
    at.text_input(key="view-words").set_value(sentences[1]).run()
    assert cards(fine(at))[0] == "P-001"
    assert "cosine **1.000**" in words(at)
    assert at.query_params["words"] == sentences[1]
    sent = fine(case_page(study, ask="words", words=sentences[3]))
    assert cards(sent)[0] == "P-003"


def test_an_encoder_without_text_says_so(case_page: Open, planted: Study) -> None:
    at = fine(case_page(planted, ask="words", words="A mass."))
    assert "has no text tower" in words(at)
    assert not cards(at)


def test_one_patient_a_missing_mask_and_no_image(case_page: Open, planted: Study, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.nii.gz").write_bytes((planted.images / "P-001.nii.gz").read_bytes())
    store = EmbeddingStore.create(tmp_path / "store")
    with store.writer({"encoder": "planted"}, dim=2, name="one") as writer:
        writer.add(
            [
                {
                    "patient_id": "P-001",
                    "root": str(root),
                    "image": "a.nii.gz",
                    "mask": "gone.nii.gz",
                    "embedding": [1.0, 2.0],
                }
            ]
        )
    study = dataclasses.replace(planted, store=store.path)
    for view in ("planes", "3d", "patches"):
        at = fine(case_page(study, shows=view))
        assert "there is nobody to compare with" in words(at)
    (root / "a.nii.gz").unlink()
    at = fine(case_page(study))
    assert "is not there any more" in words(at)
    assert not at.get("bidi_component")


@pytest.mark.shared_data
def test_the_sarcoma_cohort_is_shown(
    case_page: Open, shared: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    home = shared / "data" / "sts"
    manifest = pd.read_csv(home / "manifest.csv")
    store = EmbeddingStore.create(tmp_path / "store")
    with store.writer({"encoder": "elsewhere", "licence": "CC BY 3.0"}, dim=5, name="sts") as writer:
        writer.add(
            {
                "patient_id": r.patient_id,
                "root": str(home),
                "image": r.image,
                "mask": r.mask,
                "mask_label": 1,
                "embedding": rng.standard_normal(5),
            }
            for r in manifest.itertuples()
        )
    study = Study(store.path, home / "clinical.csv", home, stage="grade", order="Low,Intermediate,High")
    at = fine(case_page(study, case="STS_003"))
    assert "CC BY 3.0" in words(at)
    assert planes(at)["axial"]["count"] == load_volume(home / "STS_003/CT_image.nii.gz").shape_zyx[0]
    assert len(cards(at)) == 5
    fine(case_page(study, case="STS_003", shows="3d"))


def test_the_demos_cases_are_shown(case_page: Open, tmp_path: Path) -> None:
    from analysis.demo_cohort import write
    from analysis.synthetic import make_clinical
    from flexict_core.embed import embed_manifest
    from flexict_core.manifest import read_manifest

    truth = make_clinical(24)
    few = dataclasses.replace(truth, table=truth.table.head(3), planted=truth.planted.head(3))
    made = write(few, tmp_path / "cohort", workers=1, progress=False)
    store = EmbeddingStore.create(tmp_path / "store")
    embed_manifest(read_manifest(made.manifest), store, encoder=load_encoder("baseline"), progress=False)
    study = Study(store.path, Path(made.clinical), tmp_path)
    at = fine(case_page(study, case="SYN-A-002"))
    assert "SYNTHETIC" in words(at)
    assert sorted(cards(at)) == ["SYN-A-001", "SYN-A-003"]
    assert "both" in words(at)  # named features say why
    fine(case_page(study, case="SYN-A-002", shows="3d"))
    without = fine(case_page(study, case="SYN-A-002", shows="patches"))
    assert "fewer than two stages" in words(without)  # three patients carry no axis
