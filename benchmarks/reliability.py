"""What becomes of killed commands, full disks, damaged files, hostile inputs and absurd ones: the promises, counted.

    python benchmarks/reliability.py                      # every part, an hour or more; Linux, and a C compiler
    python benchmarks/reliability.py --only kills         # one part; results of the others are kept
    python benchmarks/reliability.py --only faults --n 5 --command save --results there

Each part is a file of ``reliability_parts/`` that says what it does; ``fuzz.py`` counts the absurd inputs by itself.
Counts go to ``results/reliability.json``, with every case that went wrong, and are printed as the table of
``docs/reliability.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from reliability_parts.processes import intercepted

RESULTS = Path(__file__).with_name("results")
PARTS = ("kills", "faults", "damage", "hostile")


def main() -> None:
    """Run the parts asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts (default: all)")
    parser.add_argument("--n", type=int, help="kills of a command (default: 20), or faults of a command and kind")
    parser.add_argument("--command", help="the one command to be killed, or whose writes fail")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    asked = parser.parse_args()
    parts = asked.only or PARTS
    if len(parts) > 1:  # each sets up its process in another way
        for part in parts:
            subprocess.run([sys.executable, __file__, "--only", part, "--results", str(asked.results)], check=True)
        return
    path = asked.results / "reliability.json"
    found = measured(parts[0], asked.n, asked.command)
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept | {parts[0]: found}, indent=1) + "\n")
    print(table(path.parent))


def measured(part: str, n: int | None, command: str | None) -> Any:
    """The counts of a part."""
    if part == "kills":
        intercepted()
        from reliability_parts.kills import killed

        return killed(n or 20, command)
    if part == "faults":
        intercepted()
        from reliability_parts.faults import injected

        return injected(n, command)
    with tempfile.TemporaryDirectory(prefix="matgl_ssl-reliability-") as folder:
        if part == "damage":
            from reliability_parts.damage import damaged

            return damaged(Path(folder))
        from reliability_parts.hostile import executed

        return executed(Path(folder))


def table(results: Path) -> str:
    """What was counted, as Markdown; a part that was not run has no row."""
    rows = []
    files = [results / f"{name}.json" for name in ("reliability", "damage", "fuzz")]
    counts, alone, fuzz = (json.loads(path.read_text()) if path.exists() else {} for path in files)
    if kills := counts.get("kills", {}).get("total"):
        rows += [
            ("commands killed with `kill -9`", kills["kills"], f"{kills['survived']} ended with the same bits"),
            ("lost, or stuck, after a kill", kills["kills"], kills["lost"] + kills["stuck"]),
            ("temporary files left after the next start", kills["kills"], kills["leftover_files"]),
            ("processes left ten seconds after a kill", kills["kills"], kills["leftover_processes"]),
        ]
    if faults := counts.get("faults", {}).get("total"):
        rows += [
            (
                "calls that failed (disk full, or broken)",
                faults["faults"],
                f"{faults['survived']} ended with the same bits",
            ),
            ("lost, or stuck, after a fault", faults["faults"], faults["lost"] + faults["stuck"]),
            ("faults without an error that names the path", faults["faults"], faults["not_told"]),
        ]
    if damage := counts.get("damage") or alone.get("by_file"):
        of, told = (sum(row[name] for row in damage.values()) for name in ("n", "told"))
        bad = sum(row[name] for row in damage.values() for name in ("lied", "unnamed", "foreign"))
        rows += [
            ("damaged files", of, f"{told:,} told of, {of - told - bad:,} read as before"),
            ("damaged files that were believed, not named, or met with an exception of others", of, bad),
        ]
    if hostile := counts.get("hostile"):
        rows += [
            ("hostile inputs that executed something", hostile["tried"], hostile["executed"]),
            ("hostile inputs that asked a network, or opened another file", hostile["tried"],
             hostile["requests"] + hostile["foreign_paths"]),
        ]  # fmt: skip
    if fuzz:
        came = fuzz["came"]
        rows.append(("absurd files: exceptions of others, hangs, crashes", fuzz["inputs"],
                     fuzz["inputs"] - came.get("result", 0) - came.get("typed", 0)))  # fmt: skip
    lines = ["| what | of | count |", "|---|---|---|", *(f"| {what} | {of:,} | {n} |" for what, of, n in rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
