"""Ray as an engine: a cluster of two nodes that the test starts, a worker killed in the middle of a row."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from app.cli import main
from flexict_core.store import EmbeddingStore

ENCODER = '''
import os, pathlib, signal
from flexict_core.encoders.baseline import BaselineEncoder
from flexict_core.encoders.registry import EncoderInfo, register_encoder

class Struck(BaselineEncoder):
    """Its first worker to meet the volume of 30 HU is killed there, as the kernel does when memory runs out."""

    name = "struck"

    def prepare(self, volume, roi=None):
        if volume.array.max() == 30:
            try:
                (pathlib.Path(__file__).parent / "struck").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return super().prepare(volume, roi)

info = EncoderInfo(name="struck", dim=Struck().dim, recipe="native", poolings=("",), weights="", licence="",
                   weights_found=None, description="")
register_encoder("struck", lambda name, options: Struck(), info=info)
'''


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of two nodes of one core each, whose workers find the encoder."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=1)
        yield nodes.address
    finally:
        nodes.shutdown()


def cohort(folder: Path) -> Path:
    lines = ["patient_id,image"]
    folder.mkdir()
    for i in range(10):
        array = np.full((8, 8, 6), -1000, np.int16)
        array[2:6, 2:6, 1:5] = 10 * i
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), folder / f"p{i}.nii.gz")
        os.utime(folder / f"p{i}.nii.gz", (1_700_000_000,) * 2)
        lines.append(f"P{i},p{i}.nii.gz")
    (folder / "p7.nii.gz").write_bytes(b"no volume")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.csv"


def held(store: Path) -> list[dict[str, Any]]:
    (folder,) = (p for p in store.iterdir() if p.is_dir())
    parts = sorted(folder.glob("part-*.parquet"))
    return [pq.read_table(p).to_pydict() for p in [*parts, folder / "quarantine.parquet"]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_nodes_store_what_one_process_stores_though_a_worker_is_killed(
    tmp_path: Path, cluster: str
) -> None:
    manifest = cohort(tmp_path / "c")
    (tmp_path / "struck_encoder.py").write_text(ENCODER)
    environment = {**os.environ, "FLEXICT_ENCODERS": "struck_encoder", "OMP_NUM_THREADS": "1"}
    script = "import sys; from app.cli import main; sys.exit(main())"

    def embed(store: str, *more: str) -> subprocess.CompletedProcess[str]:
        given = [
            "embed",
            "--encoder",
            "struck",
            "--manifest",
            str(manifest),
            "--store",
            str(tmp_path / store),
        ]
        command = [sys.executable, "-c", script, *given, *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    spread = embed("spread", "--engine", "ray", "--ray-address", cluster)
    assert spread.returncode == 3, spread.stderr
    assert "9 embedded, 0 already there, 1 in quarantine" in spread.stdout
    assert "Traceback" not in spread.stderr
    assert (tmp_path / "struck").exists(), "no worker was killed"
    single = embed("single", "--workers", "0")
    assert single.returncode == 3, single.stderr
    assert held(tmp_path / "spread") == held(tmp_path / "single")
    table = EmbeddingStore(tmp_path / "spread").read("struck")
    assert table.rows["patient_id"].tolist() == [f"P{i}" for i in range(10) if i != 7]


def test_without_ray_the_remedy_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return real(name, *rest, **more)

    call = ["embed", "--manifest", str(cohort(tmp_path / "c")), "--store", str(tmp_path / "s"), "--quiet"]
    monkeypatch.setattr(builtins, "__import__", absent)
    assert main([*call, "--engine", "ray"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Ray is not installed: pip install 'flexict-atlas[ray]', or use --engine local" in line
    assert main([*call, "--ray-address", "auto"]) == 2
    assert "without --engine ray" in capsys.readouterr().err
