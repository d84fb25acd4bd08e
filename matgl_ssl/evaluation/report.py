"""What a benchmark leaves behind: scores as CSV, tables as Markdown, figures, and a page of them all."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matgl_ssl._files import write_text

from .figures import FEW, improvements, learning_curves
from .leaks import Removed
from .page import study_page
from .plan import Cell, Plan
from .statistics import Score
from .tables import choices_table, error_tables, intervals_table, means_table

_HOW = (
    "Differences compare geometric means of paired errors: same task, fold and seed. Negative ones are smaller "
    "errors. Intervals are Student's 95 % intervals of the logarithms of error ratios. For a task they are over "
    "folds or seeds, and for a mean over tasks or seeds, whichever vary more; a mean needs three tasks. Bold, won "
    "and lost mark what is significant at a false discovery rate of 5 % (Benjamini and Hochberg). In each table "
    "the headline's arms are one family of tests, and all others are another; the column of means is adjusted by "
    "itself in the same way. An interval marked (1 seed) does not cover another seed. Each arm's options were "
    "chosen from the same grid, for each fold, on the labels that seed 0 reveals."
)


def scores_of(plan: Plan, method: str) -> list[Score]:
    """The finished cells of a method, in the plan's order."""
    found = ((cell, plan.store.shown(cell.unit)) for cell in plan.cells if cell.unit and cell.method == method)
    return [Score(*cell[:6], float(kept["result"]["mae"]), kept["made_with"]) for cell, kept in found if kept]


def write_scores(plan: Plan, out: Path) -> None:
    """``scores.csv``, and ``scores-<probe>.csv`` for each probe that was run."""
    for method in dict.fromkeys(cell.method for cell in plan.cells):
        if scores := scores_of(plan, method):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(Score._fields)
            writer.writerows((*score[:6], f"{score.mae:.6g}", score.made_with) for score in scores)
            write_text(out / f"scores{_suffix(method)}.csv", text.getvalue())


def write_report(plan: Plan, out: Path, title: str) -> None:
    """``table.md``, the figures and ``report.html``, from the cells that are finished."""
    units = {name: f"{task.transform or ''} {task.unit}".strip() for name, task in plan.config.tasks.items()}
    methods = list(dict.fromkeys(cell.method for cell in plan.cells))
    scores = {method: scores_of(plan, method) for method in methods}
    means = means_table(plan.cells, scores, plan.config)
    tables = [means] if means.rows else []
    for method in methods:
        cells = [cell for cell in plan.cells if cell.method == method]
        tables += error_tables(cells, scores[method], units, method, plan.config)
        for encoder in dict.fromkeys(score.encoder for score in scores[method]):
            own = [score for score in scores[method] if score.encoder == encoder]
            stem = f"{encoder}{_suffix(method)}"
            if first := [score for score in own if score.arm in plan.config.headline[:FEW]]:
                learning_curves(out / f"label-efficiency-{stem}.png", first, units, plan.config.part)
            learning_curves(out / f"learning-curves-{stem}.png", own, units, plan.config.part)
            improvements(out / f"improvement-{stem}.png", own, plan.config.mean_over)
    results = [_result(plan, cell) for cell in plan.cells]
    more = intervals_table(plan.cells, results), choices_table(plan.cells, results)
    tables += [table for table in more if table.rows]
    about = [_state(plan.cells, results), *_leaks(plan), _HOW, *_makers(plan)]
    text = "\n".join([f"# {title}", "", *(f"{line}\n" for line in about), *(table.markdown() for table in tables)])
    write_text(out / "table.md", text)
    write_text(out / "report.html", study_page(title, plan.config, scores, units, tables, about))


def _result(plan: Plan, cell: Cell) -> dict[str, Any] | None:
    found = plan.store.shown(cell.unit) if cell.unit else None
    return dict(found["result"]) if found else None


def _state(cells: Sequence[Cell], results: Sequence[object]) -> str:
    done, asked = sum(result is not None for result in results), sum(cell.unit is not None for cell in cells)
    return f"{done:,} of {asked:,} cells are finished; the others are marked or counted in the tables."


def _makers(plan: Plan) -> list[str]:
    """What computed the numbers, if not all are this version's."""
    kept = [(cell.unit, found) for cell in plan.cells if cell.unit and (found := plan.store.shown(cell.unit))]
    stale = Counter(found["made_with"] for unit, found in kept if found["made_with"] != unit.made_with)
    if not stale:
        return []
    said = "; ".join(f"{name} ({n:,} cells)" for name, n in stale.most_common())
    return [f"Computed by other code than today's and carried over: {said}. `--rerun-stale` computes them anew."]


def _leaks(plan: Plan) -> list[str]:
    """A sentence a corpus."""
    sentences = []
    for guard in plan.guards.values():
        name = guard.facts["corpus"]["data"]
        if (found := plan.store.shown(guard)) is None:
            sentences.append(f"Corpus {name}: leak rule `{guard.where['rule']}`; not looked at yet.")
        else:
            removed = Removed(**found["result"])
            sentences.append(f"Corpus {name}: {removed}, for all tasks at once, so that one encoder serves every task.")
    return sentences


def _suffix(method: str) -> str:
    return "" if method == "fine-tune" else f"-{method}"
