"""What a benchmark leaves behind: scores as CSV, tables as Markdown, figures, and one page with all of it."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matgl_ssl._files import atomic_path

from .figures import improvements, learning_curves
from .leaks import from_facts
from .plan import Cell, Plan
from .statistics import Score
from .tables import Table, choices_table, error_tables, means_table

_STYLE = """body{font:14px/1.45 sans-serif;max-width:76em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}td,th{border:1px solid #ccc;
padding:.25em .6em;text-align:left;font-variant-numeric:tabular-nums}th{background:#f3f3f3}img{max-width:100%}
h2{margin-top:2em;font-size:1.1em}"""
_HOW = (
    "Negative differences are smaller errors. Intervals are 95 % bootstrap intervals of paired differences on the same "
    "task, fold and seed; they resample tasks, and of each its folds and its seeds, which folds share. (1 seed): what "
    "another would change is not in the interval. Won and lost: the task's interval excludes zero. Each arm's options "
    "were chosen from the same grid on revealed labels of seed 0, fold 0 alone; where all labels of several folds are "
    "revealed, later folds test on some of these."
)


def scores_of(plan: Plan, method: str) -> list[Score]:
    """The finished cells of a method, in the plan's order."""
    found = ((cell, plan.store.get(cell.unit)) for cell in plan.cells if cell.unit and cell.method == method)
    return [
        Score(cell.task, cell.encoder, cell.arm, cell.n_labels, cell.seed, cell.fold, float(kept["result"]["mae"]))
        for cell, kept in found
        if kept
    ]


def write_scores(plan: Plan, out: Path) -> None:
    """``scores.csv``, and ``scores-<probe>.csv`` for each probe that was run."""
    for method in dict.fromkeys(cell.method for cell in plan.cells):
        if scores := scores_of(plan, method):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(Score._fields)
            writer.writerows((*score[:-1], f"{score.mae:.6g}") for score in scores)
            _write(out / f"scores{_suffix(method)}.csv", text.getvalue())


def write_report(plan: Plan, out: Path, title: str) -> None:
    """``table.md``, the figures, and ``report.html``, from the cells that are finished."""
    units = {name: f"{task.transform or ''} {task.unit}".strip() for name, task in plan.config.tasks.items()}
    methods = list(dict.fromkeys(cell.method for cell in plan.cells))
    scores = {method: scores_of(plan, method) for method in methods}
    means = means_table(plan.cells, scores, plan.config)
    tables = [means] if means.rows else []
    figures: dict[str, Path] = {}
    for method in methods:
        cells = [cell for cell in plan.cells if cell.method == method]
        tables += error_tables(cells, scores[method], units, method, plan.config)
        for encoder in dict.fromkeys(score.encoder for score in scores[method]):
            own = [score for score in scores[method] if score.encoder == encoder]
            stem = f"{encoder}{_suffix(method)}"
            if first := [score for score in own if score.arm in plan.config.headline]:
                figures[f"Label efficiency: {encoder}, {method}"] = out / f"label-efficiency-{stem}.png"
                learning_curves(out / f"label-efficiency-{stem}.png", first, units, plan.config.part)
            figures[f"Learning curves: {encoder}, {method}"] = out / f"learning-curves-{stem}.png"
            learning_curves(out / f"learning-curves-{stem}.png", own, units, plan.config.part)
            if improvements(out / f"improvement-{stem}.png", own, plan.config.mean_over):
                figures[f"Improvement over scratch: {encoder}, {method}"] = out / f"improvement-{stem}.png"
    results = [_result(plan, cell) for cell in plan.cells]
    chosen = choices_table(plan.cells, results)
    tables += [chosen] if chosen.rows else []
    about = [_state(plan.cells, results), *_leaks(plan), _HOW]
    text = "\n".join([f"# {title}", "", *(f"{line}\n" for line in about), *(table.markdown() for table in tables)])
    _write(out / "table.md", text)
    _write(out / "report.html", _page(title, about, tables, figures))


def _result(plan: Plan, cell: Cell) -> dict[str, object] | None:
    return plan.store.result(cell.unit) if cell.unit and plan.store.get(cell.unit) else None


def _state(cells: Sequence[Cell], results: Sequence[object]) -> str:
    done, asked = sum(result is not None for result in results), sum(cell.unit is not None for cell in cells)
    return f"{done:,} of {asked:,} cells are finished; the others are marked or counted in the tables."


def _leaks(plan: Plan) -> list[str]:
    """A sentence a corpus."""
    sentences = []
    for guard in plan.guards.values():
        name = guard.key["corpus"]["data"]
        if plan.store.get(guard) is None:
            sentences.append(f"Corpus {name}: leak rule `{guard.key['rule']}`; not looked at yet.")
        else:
            removed = from_facts(plan.store.result(guard))
            sentences.append(f"Corpus {name}: {removed}, for all tasks at once, so that one encoder serves every task.")
    return sentences


def _page(title: str, about: Sequence[str], tables: Sequence[Table], figures: Mapping[str, Path]) -> str:
    images = (
        f'<h2>{html.escape(name)}</h2>\n<img alt="{html.escape(name)}" '
        f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for name, path in figures.items()
    )
    body = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in about), *images]
    body += [table.html() for table in tables]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>\n" + "\n".join(body) + "\n</body></html>\n"


def _suffix(method: str) -> str:
    return "" if method == "fine-tune" else f"-{method}"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
