"""Are weaknesses known of the pinned libraries? python .ci/audit.py; status 1 where there are.

Asks the public list through pip-audit. Where neither can be reached, that is said in one line and is no fault: each
file of a library but torch is then still held to its hash (`requirements.lock`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build/audit"
PIN = re.compile(r"^[A-Za-z0-9][\w.-]*==\S+", re.MULTILINE)


def pins() -> list[str]:
    """What requirements.txt pins, torch included."""
    return PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8"))


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Status and lines of what pip-audit found: its `dependencies`, each with `vulns` or a `skip_reason`."""
    asked = [d for d in dependencies if "skip_reason" not in d]
    found = [d for d in asked if d["vulns"]]
    lines = [
        f"{d['name']} {d['version']}: {v['id']}, mended in {', '.join(v['fix_versions']) or 'no version yet'}"
        for d in found
        for v in d["vulns"]
    ]
    if not asked:
        return 0, [
            f"not audited: the list of known weaknesses answers for none of the {len(dependencies)} pinned libraries"
        ]
    skipped = len(dependencies) - len(asked)
    unknown = f"; {skipped} are not in the list" if skipped else ""
    said = f"{len(lines)} known weaknesses" if lines else "no known weakness"
    return int(bool(lines)), [*lines, f"audited: {said} in {len(asked)} pinned libraries{unknown}"]


def main() -> int:
    program = HOME / "bin/pip-audit"
    if not program.exists():
        venv.create(HOME, with_pip=True)
        install = [
            HOME / "bin/python",
            *["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit"],
        ]
        if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            print("not audited: pip-audit cannot be installed, no package index can be reached")
            return 0
    pinned = HOME / "pinned.txt"
    pinned.write_text("\n".join(pins()) + "\n", encoding="utf-8")
    options = "--no-deps --disable-pip --format json --progress-spinner off -r"
    call = [program, *options.split(), pinned]
    done = subprocess.run(call, capture_output=True, text=True)
    try:
        status, lines = verdict(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        status, lines = (
            0,
            [
                f"not audited: the list of known weaknesses cannot be reached ({why.split(' with url')[0][:100]})"
            ],
        )
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
