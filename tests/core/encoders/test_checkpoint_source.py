"""Where weights are looked for, in which order, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexict_core.encoders.checkpoint_source import file_sha256, resolve_checkpoint, weights_status
from flexict_core.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VARIABLES = ("FLEXICT_CHECKPOINT", "FLEXICT_2D_CHECKPOINT", "FLEXICT_3D_CHECKPOINT", "FLEXICT_VLM_CHECKPOINT")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and a client that may not use the network."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"weights")
    return folder


def cached(cache: Path, *names: str) -> Path:
    repo = cache / "models--someone--FlexiCT-3D"
    put(repo / "refs")
    (repo / "refs" / "main").write_text(COMMIT)
    return put(repo / "snapshots" / COMMIT, *names)


def refusal(name: str, explicit: str | Path | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint(name, explicit)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_explicit_wins_over_general_over_particular_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "explicit.pth", "general.pth", "two.pth", "three.pth", "vlm.pth")
    monkeypatch.setenv("FLEXICT_2D_CHECKPOINT", str(tmp_path / "two.pth"))
    monkeypatch.setenv("FLEXICT_3D_CHECKPOINT", str(tmp_path / "three.pth"))
    monkeypatch.setenv("FLEXICT_VLM_CHECKPOINT", str(tmp_path / "vlm.pth"))
    assert resolve_checkpoint("flexict-2d") == tmp_path / "two.pth"
    assert resolve_checkpoint("flexict-3d") == tmp_path / "three.pth"
    assert resolve_checkpoint("flexict-3d-vlm") == tmp_path / "vlm.pth"
    monkeypatch.setenv("FLEXICT_CHECKPOINT", str(tmp_path / "general.pth"))
    assert resolve_checkpoint("flexict-3d") == tmp_path / "general.pth"
    assert resolve_checkpoint("flexict-3d", tmp_path / "explicit.pth") == tmp_path / "explicit.pth"


def test_no_weights_says_how_to_get_them_and_their_licence() -> None:
    told = refusal("flexict-3d")
    assert "--checkpoint" in told
    assert "hf:ricklisz123/FlexiCT-3D" in told
    assert "FLEXICT_3D_CHECKPOINT" in told
    assert "CC BY-NC-ND 4.0" in told


def test_a_missing_file_names_what_pointed_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXICT_CHECKPOINT", str(tmp_path / "gone.pth"))
    assert refusal("flexict-2d").startswith(f"FLEXICT_CHECKPOINT '{tmp_path / 'gone.pth'}' does not exist")
    assert refusal("flexict-2d", tmp_path / "other.pth").startswith("checkpoint ")


def test_a_folder_stands_for_its_one_weights_file(tmp_path: Path) -> None:
    folder = put(tmp_path / "model", "model.safetensors", "old.pth", "modeling_flexict.py")
    assert resolve_checkpoint("flexict-3d", folder) == folder / "model.safetensors"
    put(folder, "second.safetensors")
    assert "2 .safetensors files" in refusal("flexict-3d", folder)
    assert "holds no .safetensors or .pth" in refusal("flexict-3d", put(tmp_path / "empty"))


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_the_hub_cache_serves_without_a_network(offline_hub: Path, revision: str) -> None:
    folder = cached(offline_hub, "model.safetensors", "modeling_flexict.py")
    found = resolve_checkpoint("flexict-3d", f"hf:someone/FlexiCT-3D{revision}")
    assert found == folder / "model.safetensors"


def test_pickled_weights_of_the_hub_are_found_where_there_are_no_others(offline_hub: Path) -> None:
    folder = cached(offline_hub, "flexict.pth")
    assert resolve_checkpoint("flexict-3d", "hf:someone/FlexiCT-3D") == folder / "flexict.pth"


@pytest.mark.parametrize("revision", ["", "@v1", "@fedcba9876543210fedcba9876543210fedcba98"])
def test_no_network_and_no_cache_is_one_line(offline_hub: Path, revision: str) -> None:
    told = refusal("flexict-3d", f"hf:nobody/FlexiCT-3D{revision}")
    assert f"'hf:nobody/FlexiCT-3D{revision}' cannot be fetched and is not in the local cache" in told
    assert "pass a local file" in told


def test_another_revision_than_the_cached_one_is_not_served(offline_hub: Path) -> None:
    cached(offline_hub, "model.safetensors")
    assert "cannot be fetched" in refusal("flexict-3d", "hf:someone/FlexiCT-3D@other")


def test_status_looks_at_the_cache_and_fetches_nothing(
    offline_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXICT_3D_CHECKPOINT", "hf:someone/FlexiCT-3D")
    told = "hf:someone/FlexiCT-3D (FLEXICT_3D_CHECKPOINT), fetched when first used"
    assert weights_status("flexict-3d") == (told, False)
    file = cached(offline_hub, "model.safetensors") / "model.safetensors"
    assert weights_status("flexict-3d") == (f"{file} (FLEXICT_3D_CHECKPOINT)", True)
    monkeypatch.setenv("FLEXICT_3D_CHECKPOINT", "hf:nonsense")
    text, found = weights_status("flexict-3d")
    assert not found
    assert "'hf:nonsense' is not of the form" in text


@pytest.mark.parametrize("reference", ["hf:", "hf:FlexiCT-3D", "hf:a/b/c", "hf:a/b@", "hf:../x/y"])
def test_malformed_hub_references_are_refused(reference: str) -> None:
    assert "hf:OWNER/REPO" in refusal("flexict-3d", reference)


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-4, example "abc"
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected
