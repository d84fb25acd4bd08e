"""Fill the tables of recipes and methods on the pages, from those that the benchmarks wrote.

    python benchmarks/quote.py

Rows are found by the arm that their first cell names, columns by their heading; other columns stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BENCHMARKS = [
    "README", "methods", "recipes", "gain", "leaderboard", "search", "ablations", "scaling", "other-properties",
    "encoders", "fit", "label-masking", "representations",
]  # fmt: skip
SYSTEMS = [
    "dssl", "atomic-representations", "derivative-based", "deep-infomax", "crystal-twins", "cdssl", "textbook"
]  # fmt: skip
PAGES = [
    *(ROOT / "benchmarks" / f"{name}.md" for name in BENCHMARKS),
    ROOT / "docs" / "pretexts.md",
    *(ROOT / "docs" / "systems" / f"{name}.md" for name in SYSTEMS),
]
HOW = "in per cent, 95 % interval"
MEANS = f"Means over tasks: paired difference to scratch {HOW}"


def _to(arm: str, labels: int | str, method: str = "fine-tune") -> str:
    return f"Paired difference to {arm} {HOW}: MEGNet, {labels} labels, {method}"


def _over(tasks: int, labels: int | str, method: str = "fine-tune") -> str:
    return f"MEGNet, {labels} labels, {method}, {tasks} tasks"


ERRORS = "Test MAE: MEGNet, all labels, fine-tune"
COLUMNS = {  # heading here: study, title and heading there
    "all labels": ("evidence", MEANS, _over(4, "all")),
    "all phonons": ("evidence", _to("scratch", "all"), "phonons"),
    "all jdft2d": ("evidence", _to("scratch", "all"), "jdft2d"),
    "phonons (1/cm)": ("leaderboard", ERRORS, "phonons (1/cm)"),
    "jdft2d (meV/atom)": ("leaderboard", ERRORS, "jdft2d (meV/atom)"),
    "phonons, to scratch (%)": ("leaderboard", _to("scratch", "all"), "phonons"),
    "jdft2d, to scratch (%)": ("leaderboard", _to("scratch", "all"), "jdft2d"),
    "three encoders": ("encoders", MEANS, _over(5, 100)),
    "three encoders, stronger baseline": ("encoders", _to("scratch-any-rates", 100), "mean over tasks"),
    "three encoders, frozen": ("encoders", MEANS, _over(5, 100, "kernel-ridge")),
    "three encoders, frozen, 500": ("encoders", MEANS, _over(5, 500, "kernel-ridge")),
    "official folds, phonons (1/cm)": ("fit", ERRORS, "phonons (1/cm)"),
    "official folds, jdft2d (meV/atom)": ("fit", ERRORS, "jdft2d (meV/atom)"),
    "official folds, phonons (%)": ("fit", _to("tabular-targets", "all"), "phonons"),
    "official folds, jdft2d (%)": ("fit", _to("tabular-targets", "all"), "jdft2d"),
    "formation energy, masked": ("label-masking", _to("scratch", 100), "formation-energy"),
    "band gap, masked": ("label-masking", _to("scratch", 100), "band-gap"),
    "formation energy, frozen and masked": ("label-masking", _to("scratch", 100, "kernel-ridge"), "formation-energy"),
    "band gap, frozen and masked": ("label-masking", _to("scratch", 100, "kernel-ridge"), "band-gap"),
    "searched, fine-tuned": ("search", MEANS, _over(5, 100)),
    "searched, frozen": ("search", MEANS, _over(5, 100, "kernel-ridge")),
}
for task in ("phonons", "bulk-modulus", "jdft2d", "heat-capacity", "band-gap", "mean over tasks"):
    COLUMNS[f"{task}, fit"] = ("fit", _to("tabular-targets", 100), task)
for task in ("dielectric", "poisson-ratio", "magnetisation", "shear-modulus"):
    COLUMNS[f"{task}, fit"] = ("other-properties", _to("tabular-targets", 100), task)
for n in (100, 500):
    COLUMNS |= {
        f"{n} labels": ("evidence", MEANS, _over(5, n)),
        f"frozen, {n}": ("evidence", MEANS, _over(5, n, "kernel-ridge")),
        f"{n}, stronger baseline": ("evidence", _to("scratch-any-rates", n), "mean over 5 tasks"),
        f"against `textbook`, {n}": ("evidence", _to("textbook", n), "mean over 5 tasks"),
        f"against `textbook-any-rates`, {n}": ("evidence", _to("textbook-any-rates", n), "mean over 5 tasks"),
        f"ablated, frozen, {n}": ("ablations", MEANS, _over(5, n, "kernel-ridge")),
        f"ablated, fine-tuned, {n}": ("ablations", MEANS, _over(5, n)),
        f"against all crystals, {n}": (
            "scaling", f"Means over tasks: paired difference to textbook {HOW}", _over(5, n, "kernel-ridge")
        ),
    }  # fmt: skip
    COLUMNS[f"to random weights, {n}"] = ("representations", _to("random-0-1", n, "kernel-ridge"), "mean over tasks")
    for heading, column in {
        "HSE gap": "hse-gap",
        "bulk modulus": "bulk-modulus",
        "formation energy": "formation-energy",
    }.items():
        COLUMNS[f"{heading}, {n}"] = ("representations", _to("manual-descriptors", n, "kernel-ridge"), column)
    for heading, column in {
        "dielectric constant": "dielectric",
        "Poisson's ratio": "poisson-ratio",
        "magnetisation": "magnetisation",
        "shear modulus": "shear-modulus",
        "mean of the four": "mean over tasks",
    }.items():
        COLUMNS[f"{heading}, {n}"] = ("other-properties", _to("scratch", n), column)
TABLE = re.compile(r"^\| (?:recipe|method) \|.*\n(?:\|.*\n)+", re.MULTILINE)


def reports() -> dict[str, str]:
    """The ``table.md`` of each study that is quoted."""
    studies = dict.fromkeys(study for study, *_ in COLUMNS.values())
    return {study: (RESULTS / study / "table.md").read_text(encoding="utf-8") for study in studies}


def filled(page: str, reports: dict[str, str]) -> str:
    """A page with its tables of methods as the reports, a ``table.md`` of each study, have them."""
    tables = {
        (study, part.partition("\n")[0]): [_cells(line) for line in part.splitlines() if line.startswith("|")]
        for study, report in reports.items()
        for part in report.split("\n## ")[1:]
    }

    def fill(table: re.Match[str]) -> str:
        heading, rule, *lines = table[0].splitlines(keepends=True)
        header = _cells(heading)
        rows = (
            [row[0], *(_entry(tables, row[0], *cell) for cell in zip(header[1:], row[1:], strict=True))]
            for row in map(_cells, lines)
        )
        return heading + rule + "".join(f"| {' | '.join(row)} |\n" for row in rows)

    return TABLE.sub(fill, page)


def _entry(tables: dict[tuple[str, str], list[list[str]]], arm: str, heading: str, before: str) -> str:
    if heading not in COLUMNS:
        return before
    study, title, column = COLUMNS[heading]
    header, *rows = tables[study, title]
    return next((row[header.index(column)] for row in rows if f"`{row[0]}`" == arm), "-")


def _cells(line: str) -> list[str]:
    return line.strip("| \n").split(" | ")


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8"), reports()), encoding="utf-8")
