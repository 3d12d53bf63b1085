"""Joining a Ray cluster: addresses that do not answer, GPUs, machines with other libraries."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flexict_core.engines.ray_cluster as ray_cluster
import flexict_core.engines.ray_data as ray_data
from app.cli import main
from flexict_core.encoders.baseline import BaselineEncoder
from flexict_core.engines.ray_cluster import gpus_of, other_versions, versions
from flexict_core.errors import EncoderError, FlexictError


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "Ray cluster '127.0.0.1:1' cannot be joined (Connection refused): check the address"),
        ("nobody.invalid:6379", "Ray cluster 'nobody.invalid:6379' cannot be joined ("),
        ("garbage", "--ray-address 'garbage' is neither auto nor HOST:PORT"),
        ("host:99999", "--ray-address 'host:99999' is neither auto nor HOST:PORT"),
    ],
)
def test_an_address_that_does_not_answer_is_one_line_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], address: str, says: str
) -> None:
    pytest.importorskip("ray")
    (tmp_path / "m.csv").write_text("patient_id,image\nP1,a.nii.gz\n")
    call = ["embed", "--manifest", str(tmp_path / "m.csv"), "--store", str(tmp_path / "s"), "--quiet"]
    start = time.monotonic()
    assert main([*call, "--engine", "ray", "--ray-address", address]) == 2
    assert time.monotonic() - start < 15
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line


def cluster(**resources: float) -> Any:
    return SimpleNamespace(cluster_resources=lambda: resources)


@pytest.mark.parametrize(
    ("there", "wanted", "used"), [(3, None, 3), (3, True, 3), (3, False, 0), (0, None, 0), (0, False, 0)]
)
def test_encoders_go_where_gpus_are(there: int, wanted: bool | None, used: int) -> None:
    assert gpus_of(cluster(CPU=8.0, **({"GPU": float(there)} if there else {})), wanted) == used


def test_a_gpu_that_must_be_there_and_is_not_is_named() -> None:
    with pytest.raises(EncoderError, match="--device cuda: the Ray cluster has no GPU"):
        gpus_of(cluster(CPU=8.0), True)


class Recorded:
    """In the place of Ray Data: what is asked of it, stage by stage."""

    def __init__(self) -> None:
        self.stages: list[tuple[Any, dict[str, Any]]] = []
        self.data, self.put = self, lambda value: value

    def from_items(self, items: list[Any], **more: Any) -> Recorded:
        return self

    def map_batches(self, work: Any, **more: Any) -> Recorded:
        self.stages.append((work, more))
        return self

    def ActorPoolStrategy(self, **size: int) -> dict[str, int]:  # noqa: N802
        return size


@pytest.mark.parametrize(
    ("gpus", "resources", "pool"),
    [
        (0, {"num_cpus": 0.5}, {"min_size": 1, "max_size": 1}),
        (3, {"num_gpus": 1}, {"min_size": 1, "max_size": 3}),
    ],
)
def test_each_encoder_asks_for_a_gpu_of_its_own(
    gpus: int, resources: dict[str, float], pool: dict[str, int]
) -> None:
    ray = Recorded()
    plan = ray_data._Plan(b"", workers=2, batch_size=4, gpus=gpus, timeout_s=None)
    ray_data._pipeline(ray, plan, {0: []})
    (_, reading), (work, encoding) = ray.stages
    assert (reading["num_cpus"], "num_gpus" in reading) == (1, False)
    assert work is ray_data._Encode
    assert {k: v for k, v in encoding.items() if k in ("num_cpus", "num_gpus")} == resources
    assert encoding["compute"] == pool
    assert encoding["fn_constructor_args"][1] is (gpus > 0)  # put the network on the GPU


def loaded(load: bytes) -> Any:
    return pickle.loads(load)  # noqa: S301 — made a line above


def test_machines_with_other_libraries_are_refused_before_a_row_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = versions()
    assert mine["numpy"] == __import__("numpy").__version__
    assert other_versions(mine) is None
    theirs = {**mine, "numpy": "1.0"} | {"openvino": "0"}
    fault = other_versions(theirs)
    assert fault is not None
    assert f"numpy {mine['numpy']} instead of 1.0, openvino" in str(fault)
    batch = {"number": [7], "load": [b"never unpickled"]}
    (load,) = ray_data._prepare(batch, b"nor is this", None, theirs)["load"]
    assert str(loaded(load)) == str(fault)
    frozen = pickle.dumps((BaselineEncoder(),))
    passed_on = ray_data._Encode(frozen, False, mine)({"number": [7], "load": [load]})
    assert str(loaded(passed_on["load"][0])) == str(fault)
    refused = ray_data._Encode(b"not opened", True, theirs)({"number": [7], "load": [pickle.dumps([])]})
    assert isinstance(loaded(refused["load"][0]), FlexictError)
    monkeypatch.setattr(
        ray_cluster, "version", lambda name: (_ for _ in ()).throw(ray_cluster.PackageNotFoundError)
    )
    versions.cache_clear()
    assert "numpy not at all instead of" in str(other_versions(mine))
    versions.cache_clear()
