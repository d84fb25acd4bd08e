"""Write tried.md: what was tried, and how errors changed.

    python benchmarks/tried.py

``tried.yaml`` lists the trials. Intervals are computed from the committed scores, as those of ``claims.py`` are.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from claims import Claim, compared, percent, scores

from matgl_ssl.evaluation.statistics import Score

PAGE = Path(__file__).with_suffix(".md")
TRIALS = Path(__file__).with_suffix(".yaml")
TASKS = ["phonons", "bulk-modulus", "jdft2d", "heat-capacity", "band-gap"]
LABELS = (100, 500)
ABOUT = """\
# What was tried

Written by `python benchmarks/tried.py` from the scores in `benchmarks/results` and the list in `benchmarks/tried.yaml`.

Each row changes one thing. Numbers are differences of errors to what it was tried instead of, in per cent. They are
means over five tasks with 95 % intervals; negative ones are smaller errors. Bold intervals do not contain zero. Of so
many intervals some miss zero by chance.
"""


def page(text: str) -> str:
    """The page as Markdown, from the list of trials."""
    parts = [ABOUT]
    for group in yaml.safe_load(text):
        rows = ["| tried | instead of | 100 labels | 500 labels | study |", "| --- | --- | --- | --- | --- |"]
        for row in group["rows"]:
            study, method = row.get("study", "evidence"), row.get("method", "fine-tune")
            found = scores(study, method)
            trial = Claim(row["tried"], row["arm"], TASKS, {}, row["over"], study, method)
            cells = [_cell(trial, n, found) for n in LABELS]
            link = f"[{study}](results/{study}/table.md)"
            rows.append(f"| {row['tried']} | `{row['over']}` | {' | '.join(cells)} | {link} |")
        parts.append(f"## {group['group']}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _cell(trial: Claim, n: int, found: list[Score]) -> str:
    """The interval over the tasks that both were run on; a mean over fewer than three tells little."""
    of = {arm: {s.task for s in found if (s.arm, s.n_labels) == (arm, n)} for arm in (trial.arm, trial.reference)}
    tasks = [task for task in TASKS if task in of[trial.arm] & of[trial.reference]]
    if len(tasks) < 3:
        return "-"
    ours = compared(trial._replace(tasks=tasks), n, found)
    shown = percent(ours) if ours.low <= 0 <= ours.high else f"**{percent(ours)}**"
    return shown if len(tasks) == len(TASKS) else f"{shown} ({len(tasks)} tasks)"


if __name__ == "__main__":
    PAGE.write_text(page(TRIALS.read_text(encoding="utf-8")), encoding="utf-8")
