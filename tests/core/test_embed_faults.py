"""Faults done to a run on purpose, a few of each; `python -m tests.benchmarks.faults` does a hundred."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flexict_core.errors import InputError
from flexict_core.store import EmbeddingStore
from tests.benchmarks.fault_cohort import ROOT, cohort, embed
from tests.benchmarks.faults import Strikes
from tests.benchmarks.memory_faults import NotPermittedError
from tests.benchmarks.other_faults import OTHERS


def test_a_run_killed_anywhere_ends_as_one_nobody_disturbed(tmp_path: Path) -> None:
    strikes = Strikes(tmp_path / "k", seed=5, rows=24)
    strikes.kill_at_random()
    strikes.kill_in_part("half")
    strikes.kill_in_part("renamed")
    strikes.interrupt(signal.SIGTERM)
    if strikes.store.exists():
        strikes.finish()
    assert strikes.struck("SIG") + strikes.tally["came too late"] == 4
    assert strikes.struck("SIGKILL in a part") >= 1
    assert strikes.ended >= 1


@pytest.mark.parametrize("what", [name for name in OTHERS if "Ray" not in name])  # Ray's takes half a minute
def test_a_fault_costs_no_more_than_its_row(tmp_path: Path, what: str) -> None:
    try:
        OTHERS[what](tmp_path)
    except NotPermittedError as why:
        pytest.skip(str(why))


def test_a_time_limit_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="timeout of 0 s is not positive"):
        embed(cohort(tmp_path / "c", 2), tmp_path / "s", timeout_s=0)


def test_same_input_same_bytes_however_many_workers(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "c", 12)
    for name, workers in (("a", 0), ("b", 0), ("c2", 2)):
        embed(manifest, tmp_path / name, workers=workers)
    parts = [next((tmp_path / name).glob("*/part-*.parquet")).read_bytes() for name in ("a", "b", "c2")]
    assert parts[0] == parts[1] == parts[2]


def test_every_input_is_named_by_its_hash(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "c", 3)
    embed(manifest, tmp_path / "s")
    rows = EmbeddingStore(tmp_path / "s").rows("baseline")
    files = [*rows["image"], *rows["mask"]]
    told = subprocess.run(
        ["sha256sum", *files], cwd=tmp_path / "c", capture_output=True, text=True, check=True
    )
    assert [*rows["image_sha256"], *rows["mask_sha256"]] == [
        line.split()[0] for line in told.stdout.splitlines()
    ]


def test_the_job_script_shares_a_cohort_among_array_tasks(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "c", 12)
    embed(manifest, tmp_path / "whole")
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "flexict"  # the program of this environment, installed or not
    run = "import sys; from app.cli import main; sys.exit(main())"
    stand_in.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "{run}" "$@"\n')
    stand_in.chmod(0o755)
    tasks = []
    for task in ("1", "2"):
        environment = {
            **os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": task,
            "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1",
            "MANIFEST": str(manifest), "STORE": str(tmp_path / "s"), "ENCODER": "baseline",
        }  # fmt: skip
        command = ["bash", str(ROOT / "examples/slurm_embed.sh")]
        tasks.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    said = [task.communicate() for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    ours, theirs = (EmbeddingStore(tmp_path / name).read("baseline") for name in ("s", "whole"))
    assert ours.rows.equals(theirs.rows)
    assert ours.X.tobytes() == theirs.X.tobytes()
    assert len(EmbeddingStore(tmp_path / "s").quarantine("baseline")) == 5
    assert sum(pq.read_metadata(p).num_rows for p in (tmp_path / "s").glob("*/part-*.parquet")) == 7
