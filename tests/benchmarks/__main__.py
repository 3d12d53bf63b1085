"""All benchmarks by one command, and one table of what they found.

    python -m tests.benchmarks [--quick] [--only NAME …] [--list] [--out DIR] [--data DIR] [--demo DIR] [--again]
                               [--results FILE]

Each runs in a process of its own, one after the other; full runs take days of processor time, `--quick` under an hour.
What is done already is kept in `--out` (output as NAME.txt, numbers, machine and date as NAME.json), so that the same
command goes on where it stopped; `--again` begins anew. `--results` puts the table into a Markdown file, between its
marks. The machine should do nothing else meanwhile: most benchmarks are timings.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.measurements import VARIABLE, Measurement, recorded

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "torch",
    "SimpleITK",
    "pydicom",
    "streamlit",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BEGIN, END = "<!-- table of all benchmarks: begin -->", "<!-- table of all benchmarks: end -->"


@dataclass(frozen=True)
class Benchmark:
    """quick, full: arguments, in which {out}, {demo} and {data} are folders. needs: what is left out without."""

    name: str
    quick: str = ""
    full: str = ""
    needs: str = ""
    with_data: str = ""  # added where real data are given

    @property
    def question(self) -> str:
        """The first line of its docstring."""
        tree = ast.parse((HERE / f"{self.name}.py").read_text("utf-8"))
        return (ast.get_docstring(tree) or "").splitlines()[0].rstrip(".:")

    def arguments(self, given: argparse.Namespace) -> list[str]:
        text = self.quick if given.quick else self.full
        text += f" {self.with_data}" if given.data else ""
        places = {"out": given.out / self.name, "demo": given.demo, "data": given.data}
        return [word.format(**places) for word in text.split()]


_STUDY = "--store {demo}/store --clinical {demo}/cohort/clinical.csv --id patient_id"
BENCHMARKS = (
    Benchmark("calibration", "--runs 20 --interval-runs 5 --out {out}", "--out {out}"),
    Benchmark("freedman_lane", "--runs 20"),
    Benchmark("power_curves", "--runs 5 --out {out}", "--out {out}"),
    Benchmark("gradient_coverage", "--runs 10 --out {out}", "--out {out}"),
    Benchmark("gradient_speed"),
    Benchmark("gradient_scaling", "--n 200,800 --d 64 --permutations 199 --out {out}", "--largest --out {out}"),
    Benchmark("probe_calibration", "--runs 5 --out {out}", "--out {out}"),
    Benchmark("outcome_calibration", "--runs 5 --out {out}", "--out {out}"),
    Benchmark("audit_calibration", "--runs 10", ""),
    Benchmark("probe_speed", "--repeats 1", "", with_data="--data {data}"),
    Benchmark("search_speed", "", "--map"),
    Benchmark("store_speed", "--rows 30000 --parts 200 --repeats 1", ""),
    Benchmark("recipe_speed", "--repeats 1", "", with_data="--data {data}"),
    Benchmark("dicom_speed", "--slices 60 --repeats 2", ""),
    Benchmark("embed_overlap", "--volumes 4 --slices 60", ""),
    Benchmark("encoder_speed"),
    Benchmark("faults", "--kills 5 --part-kills 3 --interrupts 1", ""),
    Benchmark("fuzzing", "--examples 200", ""),
    Benchmark("map_browser", "--points 20000 --runs 1", "", needs="browser"),
    Benchmark("app_soak", f"{_STUDY} --interactions 40", _STUDY, needs="demo"),
    Benchmark(
        "app_views", f"{_STUDY} --stage stage --order I,II,III,IV --runs 1",
        f"{_STUDY} --stage stage --order I,II,III,IV", needs="demo",
    ),
    Benchmark(
        "app_sessions", f"{_STUDY} --stage stage --order I,II,III,IV --sessions 5",
        f"{_STUDY} --stage stage --order I,II,III,IV", needs="demo",
    ),
)  # fmt: skip


def lacking(benchmark: Benchmark, given: argparse.Namespace) -> str:
    """Why it cannot run here; nothing where it can."""
    if benchmark.needs == "demo" and not (given.demo / "store").is_dir():
        return f"no finished demo in {given.demo}: run `flexict demo --no-serve --out {given.demo}` first"
    if benchmark.needs == "browser" and not any(map(shutil.which, BROWSERS)):
        return "no Chrome or Chromium here"
    return ""


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", told.read_text(), re.MULTILINE) if told.exists() else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": names[0] if names else os.uname().machine,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in LIBRARIES}},
    }


def run(benchmark: Benchmark, given: argparse.Namespace) -> dict[str, Any]:
    """One benchmark to its end; what it printed is kept beside what is returned."""
    numbers = given.out / f"{benchmark.name}.jsonl"
    numbers.unlink(missing_ok=True)
    arguments = benchmark.arguments(given)
    command = [sys.executable, "-m", f"tests.benchmarks.{benchmark.name}", *arguments]
    environment = {**os.environ, VARIABLE: str(numbers)}
    start, begun, load = time.monotonic(), datetime.now(UTC), os.getloadavg()[0]
    with (given.out / f"{benchmark.name}.txt").open("w", encoding="utf-8") as said:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
    result = {
        "name": benchmark.name,
        "question": benchmark.question,
        "arguments": arguments,
        "status": done.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "begun": begun.isoformat(timespec="seconds"),
        "load_before": round(load, 1),
        "machine": machine(),
        "measurements": [asdict(m) for m in recorded(numbers)],
    }
    (given.out / f"{benchmark.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    numbers.unlink(missing_ok=True)
    return result


def kept(benchmark: Benchmark, given: argparse.Namespace) -> dict[str, Any] | None:
    """What an earlier run of the same call has left, where it came to its end."""
    path = given.out / f"{benchmark.name}.json"
    if given.again or not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return None if broken(result) or result["arguments"] != benchmark.arguments(given) else result


def broken(result: dict[str, Any]) -> bool:
    """Whether a benchmark did not come to its end; some end with status 1 where a bar is missed."""
    return result["status"] != 0 and not (result["status"] == 1 and result["measurements"])


def rows(result: dict[str, Any], output: str) -> list[tuple[str, ...]]:
    """Lines of the table: question, measured, bar, met, when and how long, command."""
    shown = " ".join(Path(a).name if a.startswith("/") else a for a in result["arguments"])
    command = f"`{' '.join(filter(None, (result['name'], shown)))}`"
    busy = f", load {result['load_before']:.0f}" if result.get("load_before", 0) >= 1.5 else ""
    when = f"{result['begun'][:10]}, {took(result['seconds'])}{busy}"
    found = [Measurement(**m) for m in result["measurements"]]
    if broken(result):
        return [(result["question"], f"ended with status {result['status']}", "", "**no**", when, command)]
    if not found:
        missed = len(re.findall(r"\bmiss\b", output, re.IGNORECASE))
        said = f"{missed} × miss in its own table" if missed else "its own table"
        return [(result["question"], said, "", "**no**" if missed else "", when, command)]
    words = {None: "", True: "yes", False: "**no**"}
    return [
        (result["question"] if i == 0 else "", m.measured(), m.wanted(), words[m.met],
         when if i == 0 else "", command if i == 0 else "")
        for i, m in enumerate(found)
    ]  # fmt: skip


def took(seconds: float) -> str:
    """`48 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table(given: argparse.Namespace, skipped: Sequence[tuple[Benchmark, str]]) -> str:
    """The Markdown table of all that is kept, and under it the machine."""
    results, lines = [], []
    reasons = {benchmark.name: f"not run: {why}" for benchmark, why in skipped}
    for benchmark in BENCHMARKS:
        path = given.out / f"{benchmark.name}.json"
        if path.exists():
            result = json.loads(path.read_text("utf-8"))
            results.append(result)
            lines += rows(result, path.with_suffix(".txt").read_text("utf-8", errors="replace"))
        else:
            why = reasons.get(benchmark.name, "no run of this command yet")
            lines.append((benchmark.question, why, "", "", "", f"`{benchmark.name}`"))
    head = ("question", "measured", "bar", "met", "when, how long", "`python -m tests.benchmarks.` …")
    text = [f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *lines)]
    for place in {json.dumps(r["machine"], sort_keys=True): r["machine"] for r in results}.values():
        libraries = ", ".join(f"{name} {number}" for name, number in place["versions"].items())
        text += [
            "",
            f"{place['cores']} cores of {place['processor']}, {place['memory_gb']} GB, {place['system']}; {libraries}.",
        ]
    return "\n".join(text) + "\n"


def put(text: str, file: Path) -> None:
    """The table between the marks of a Markdown file, or before all else where it has none."""
    old = file.read_text("utf-8") if file.exists() else ""
    if BEGIN not in old:
        old = f"# All benchmarks\n\n{BEGIN}\n{END}\n\n{old}"
    before, _, rest = old.partition(BEGIN)
    file.write_text(f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m tests.benchmarks",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small runs: do they work, and roughly what comes out"
    )
    parser.add_argument("--only", action="append", choices=[b.name for b in BENCHMARKS], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names and questions, nothing is run")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="where results are kept")
    parser.add_argument("--data", type=Path, help="folder of real cohorts, for those that take one")
    parser.add_argument("--demo", type=Path, default=Path("flexict-demo"), help="a finished `flexict demo`")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--results", type=Path, help="Markdown file to put the table into")
    given = parser.parse_args()
    given.out, given.demo = given.out.resolve(), given.demo.resolve()
    given.data = given.data and given.data.resolve()
    chosen = [b for b in BENCHMARKS if not given.only or b.name in given.only]
    if given.list:
        print("\n".join(f"{b.name:<20} {b.question}" for b in chosen))
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    skipped, failed = [], 0
    for number, benchmark in enumerate(chosen, 1):
        if why := lacking(benchmark, given):
            skipped.append((benchmark, why))
            print(f"[{number}/{len(chosen)}] {benchmark.name}: not run, {why}", flush=True)
            continue
        done = kept(benchmark, given)
        print(f"[{number}/{len(chosen)}] {benchmark.name}: {'kept' if done else 'runs …'}", flush=True)
        done = done or run(benchmark, given)
        failed += broken(done)
        if broken(done):
            print(f"    status {done['status']}, see {given.out / (benchmark.name + '.txt')}", flush=True)
    text = table(given, skipped)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    if given.results:
        put(text, given.results)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
