"""Bring the ``units.jsonl`` of a study that version 0.1 wrote to today's format.

    python benchmarks/upgrade_units.py benchmarks/evidence.yaml --old CHECKOUT_OF_0.1.0 [--data FOLDER]

Version 0.1 knew its units by a hash of everything that its own code said of them. So a checkout of it says which unit
has which name, and today's plan what the same unit is called now. Arms, options and losses get today's names. Rows that
are in neither plan are listed, with the reason, and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from matgl_ssl.evaluation.config import BenchmarkConfig, read_benchmark
from matgl_ssl.evaluation.plan import Plan
from matgl_ssl.evaluation.runner import Runner
from matgl_ssl.evaluation.store import Store, Unit, write_archive
from matgl_ssl.evaluation.tasks import data_root

ENUMERATE = """
import json, sys
from pathlib import Path
from matgl_ssl.evaluation.config import BenchmarkConfig, read_benchmark
from matgl_ssl.evaluation.plan import Plan
from matgl_ssl.evaluation.runner import Runner
from matgl_ssl.evaluation.units import Store

study, root, nowhere = map(Path, sys.argv[1:])
plan = Plan(Runner(BenchmarkConfig.build(read_benchmark(study)), root, nowhere), Store(nowhere))
cells = [["cell", *map(str, cell[:7]), cell.unit.name] for cell in plan.cells if cell.unit]
others = [[unit.kind, unit.label, unit.name] for unit in plan._units.values() if unit.kind in ("corpus", "trial")]
json.dump(cells + others, sys.stdout)
"""
NAMES = ((r"\bbest\b", "textbook"), (r"\bdepth factor\b", "layer decay"), (r"\bdepth_lr_factor\b", "layer_decay"))
LOSSES = {"l1": "mae", "l2": "mse"}


def renamed(content: Any) -> Any:
    """Content with today's names of arms, options and losses."""
    if isinstance(content, dict):
        return {renamed(k): LOSSES.get(v, v) if k == "loss" else renamed(v) for k, v in content.items()}
    if isinstance(content, list):
        return list(map(renamed, content))
    if isinstance(content, str):
        for old, new in NAMES:
            content = re.sub(old, new, content)
    return content


def old_names(checkout: Path, study: Path, root: Path) -> dict[str, tuple[str, ...]]:
    """What identifies the units of version 0.1's plan, by name, in today's words."""
    command = [sys.executable, "-c", ENUMERATE, str(study.resolve()), str(root.resolve()), str(checkout / "nowhere")]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return {name: tuple(map(renamed, identity)) for *identity, name in reversed(json.loads(done.stdout))}


def new_units(plan: Plan) -> dict[tuple[str, ...], Unit]:
    """Today's units by what identifies them. A trial of version 0.1 is one on fold 0."""
    cells = {("cell", *map(str, cell[:7])): cell.unit for cell in plan.cells if cell.unit}
    others = {
        (unit.kind, unit.label.replace(" labels, fold 0, trial", " labels, trial")): unit for unit in plan.published()
    }
    return {identity: unit for identity, unit in others.items() if identity[0] in ("corpus", "trial")} | cells


def made_with(unit: Unit, result: dict[str, Any]) -> str:
    """Version 0.1 chose options on fold 0, whose labels later folds test on."""
    late = unit.kind == "cell" and unit.where["fold"] > 0 and result.get("tried")
    return "matgl_ssl 0.1.0" + ", options chosen on fold 0" * bool(late)


def main() -> None:
    """Rewrite the archives of studies in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path, help="YAML files, with today's names")
    parser.add_argument(
        "--old", type=Path, required=True, help="a checkout of version 0.1.0, with the files as they were"
    )
    parser.add_argument("--data", help="the folder that data are named from")
    args = parser.parse_args()
    root = data_root(args.data)
    for study in args.studies:
        archive = study.parent / "results" / study.stem / "units.jsonl"
        rows = [json.loads(line) for line in archive.read_text(encoding="utf-8").splitlines()]
        if "format" in rows[0]:
            print(f"{archive} is of today's format already")
            continue
        names = old_names(args.old.resolve(), args.old / "benchmarks" / study.name, root)
        runner = Runner(BenchmarkConfig.build(read_benchmark(study)), root, Path("nowhere"))
        units = new_units(Plan(runner, Store(Path("nowhere"))))
        kept: dict[str, dict[str, Any]] = {}
        for row in rows:
            unit = units.get(names.get(row["unit"], ()))
            if unit is None:
                why = "the old plan has no such unit" if row["unit"] not in names else "today's plan has no such unit"
                print(f"  left out: {row['unit']} ({row['label']}): {why}")
                continue
            result = renamed(row["result"])
            kept[unit.name] = unit.kept(result, row["seconds"], made_with(unit, result))
        write_archive(archive, kept)
        print(f"{archive}: {len(kept)} of {len(rows)} units carried over")


if __name__ == "__main__":
    main()
