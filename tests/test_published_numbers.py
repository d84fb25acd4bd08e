"""What the documentation quotes with an interval stands in a table that a benchmark wrote."""

from __future__ import annotations

import csv
import re
import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest

from matgl_ssl.evaluation.store import read_archive

ROOT = Path(__file__).parents[1]
QUOTED = re.compile(r"\[[-+]\d+\.\d+, [-+]\d+\.\d+\]")
QUOTING = ["README.md", "benchmarks/README.md", "docs/choosing.md", "docs/pretexts.md"]
PAGES = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/**/*.md")]}
COMPUTED = {"docs/claims.md", "benchmarks/tried.md"}  # from scores, not from tables: tests/test_claims.py, and below


@pytest.mark.parametrize("page", sorted({*QUOTING, *PAGES} - COMPUTED))
def test_intervals_are_those_of_a_committed_table(page):
    quoted = QUOTED.findall(" ".join((ROOT / page).read_text().split()))  # also where a line ends within one
    tables = committed_tables()
    assert quoted or page not in QUOTING
    assert not [entry for entry in quoted if entry not in tables]


def test_kept_figures_are_those_that_a_page_shows():
    shown = {
        (page.parent / name).resolve()
        for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
        for name in re.findall(r"\(([^()]+\.png)\)", page.read_text())
    }
    kept = subprocess.run(
        ["git", "ls-files", "*.png"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {ROOT / name for name in kept} == shown


def test_tables_of_methods_are_the_benchmarks():
    quote = runpy.run_path(str(ROOT / "benchmarks" / "quote.py"))
    for page in quote["PAGES"]:
        text = page.read_text()
        assert quote["TABLE"].search(text)
        assert quote["filled"](text, quote["reports"]()) == text, "python benchmarks/quote.py"


def test_tables_are_filled_by_method_and_column():
    quote = runpy.run_path(str(ROOT / "benchmarks" / "quote.py"))
    (study, means, hundred), (_, of_all, phonons) = quote["COLUMNS"]["100 labels"], quote["COLUMNS"]["all phonons"]
    report = (
        f"# Benchmark\n\n## {means}\n\n| arm | else | {hundred} |\n| --- | --- | --- |\n"
        "| a | +9.0 | **-2.0 [-3.0, -1.0]** |\n| b | +9.0 | -2.0 [-5.0, +1.0] |\n"
        f"\n## {of_all}\n\n| arm | {phonons} |\n| --- | --- |\n| b | -2.0 [-3.0, -1.0] (1 seed) |\n"
    )
    other, title, column = quote["COLUMNS"]["magnetisation, 100"]
    reports = {study: report, other: f"# Benchmark\n\n## {title}\n\n| arm | {column} |\n| --- | --- |\n| a | +1.0 |\n"}
    header = "Before\n\n| recipe | all phonons | what | 100 labels |\n|---|---|---|---|\n"
    middle = "\n| method | magnetisation, 100 |\n|---|---|\n"
    page = f"{header}| `a` | 1 | x | 1 |\n| `b` | 1 | y | 1 |\n{middle}| `a` | 9 |\n"
    rows = "| `a` | - | x | **-2.0 [-3.0, -1.0]** |\n| `b` | -2.0 [-3.0, -1.0] (1 seed) | y | -2.0 [-5.0, +1.0] |\n"
    assert quote["filled"](page, reports) == f"{header}{rows}{middle}| `a` | +1.0 |\n"


def test_promises_are_quoted_as_they_were_counted(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    table = runpy.run_path(str(ROOT / "benchmarks" / "reliability.py"))["table"]
    assert table(ROOT / "benchmarks" / "results") in (ROOT / "docs" / "reliability.md").read_text()


def test_the_table_of_rules_is_written_from_its_scores():
    rules = runpy.run_path(str(ROOT / "benchmarks" / "textbook_targets.py"))
    path = ROOT / "benchmarks" / "results" / "textbook_targets.csv"
    assert rules["report"](path) == path.with_suffix(".md").read_text(), "python benchmarks/textbook_targets.py report"


def test_the_table_of_trials_is_written_from_the_scores(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tried = runpy.run_path(str(ROOT / "benchmarks" / "tried.py"))
    assert tried["page"](tried["TRIALS"].read_text()) == tried["PAGE"].read_text(), "python benchmarks/tried.py"


def test_plain_models_are_quoted_as_they_were_measured():
    """Each error of the page, and that the network is better in every run than what learned from the labels alone."""
    folder, page = ROOT / "benchmarks" / "results" / "fit", (ROOT / "benchmarks" / "fit.md").read_text()
    with (folder / "scores.csv").open(newline="") as file:
        alone = {
            (row["task"], int(row["seed"])): float(row["mae"]) for row in csv.DictReader(file)
            if (row["arm"], row["n_labels"]) == ("textbook-any-rates", "100")
        }  # fmt: skip
    more: dict[str, list[float]] = {}
    for unit in read_archive(folder / "units.jsonl.xz").values():
        if unit["where"].get("arm") == "fit-quick" and unit["where"]["n_labels"] == 100:
            where, result = unit["where"], unit["result"]
            assert result["plain_model"] < alone[where["task"], where["seed"]]
            more.setdefault(where["task"], []).append(100 * (result["plain_model"] / result["mae"] - 1))
    assert sum(map(len, more.values())) == 10
    assert all(f"| {task} | {np.mean(values):+.1f} |" in page for task, values in more.items())


def committed_tables() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "benchmarks" / "results").rglob("*.md"))
