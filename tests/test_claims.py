"""The page of published claims: generated, and with the word that each interval deserves."""

from __future__ import annotations

import csv
import math
import re
import runpy
from pathlib import Path

import pytest

from matgl_ssl.evaluation.statistics import Score

ROOT = Path(__file__).parents[1]
CLAIMS = runpy.run_path(str(ROOT / "benchmarks" / "claims.py"))
RATIOS = {"better": 0.8, "worse": 1.25, "alike": 1.0}
TASKS = ("gaps", "moduli", "phonons")


def listed(claims, **paper):
    about = {"paper": "P", "reference": "R", "source": "S", "differs": "D.", **paper}
    return [CLAIMS["Paper"](**about, claims=[CLAIMS["Claim"](**claim) for claim in claims])]


def results(folder, seeds=5):
    """Scores of three arms on three tasks, which scatter by a few per cent around their ratio to scratch."""
    rows = []
    for i, task in enumerate(TASKS):
        for seed in range(seeds):
            rows.append((task, "MEGNet", "scratch", 100, seed, 0, i + 1.0, ""))
            for arm, ratio in RATIOS.items():
                error = (i + 1.0) * ratio * math.exp(0.02 * (seed - seeds // 2 + 0.5 * (i - 1)))
                rows.append((task, "MEGNet", arm, 100, seed, 0, error, ""))
    (folder / "evidence").mkdir(exist_ok=True)
    with (folder / "evidence" / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Score._fields, *rows])
    return folder


def row(page, arm):
    (line,) = [line for line in page.splitlines() if f"[`{arm}` against" in line]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_page_is_what_the_script_writes():
    text = CLAIMS["PAGE"].read_text(encoding="utf-8")
    assert CLAIMS["page"](CLAIMS["papers"](CLAIMS["CLAIMS"].read_text(encoding="utf-8"))) == text, (
        "python benchmarks/claims.py"
    )
    for link in re.findall(r"\]\((\.\./[^)#]+)", text):
        assert (CLAIMS["PAGE"].parent / link).exists(), link


@pytest.mark.parametrize("tasks", [TASKS[:1], TASKS])
@pytest.mark.parametrize(
    ("arm", "direction", "word"),
    [
        ("better", "lower", "reproduced"),
        ("better", "higher", "reversed"),
        ("worse", "lower", "reversed"),
        ("worse", "higher", "reproduced"),
        ("alike", "lower", "not reproduced"),
        ("alike", "higher", "not reproduced"),
    ],
)
def test_each_word_comes_of_its_interval(tmp_path, arm, direction, word, tasks):
    claim = {"claim": "c", "arm": arm, "tasks": list(tasks), "labels": {100: -7.0}, "direction": direction}
    page = CLAIMS["page"](listed([claim]), results(tmp_path))
    assert "| claim | compared here | 100 labels |" in page
    numbers = row(page, arm)[-1]
    assert re.fullmatch(rf"[^\]]+\] {word}\*? \(-7\.0\)", numbers)
    mean, low, high = map(float, re.findall(r"[-+]\d+\.\d", numbers)[:3])
    assert low <= mean <= high
    assert abs(mean - 100 * (RATIOS[arm] - 1)) < 2
    assert (low <= 0 <= high) == (arm == "alike")


def test_tests_are_adjusted_for_the_comparisons_of_the_page(tmp_path):
    """One that is barely clear alone is not among two."""
    folder = results(tmp_path)
    found = CLAIMS["scores"]("evidence", "fine-tune", folder)
    claims = [CLAIMS["Claim"]("c", arm, [TASKS[0]], {100: None}) for arm in ("better", "alike")]
    alone = [CLAIMS["compared"](claim, 100, found).p for claim in claims]
    both = CLAIMS["page"](listed([claim._asdict() for claim in claims]), folder)
    assert alone[0] < 0.025 < 0.05 < alone[1]
    assert row(both, "better")[-1].endswith("reproduced*")
    assert row(both, "alike")[-1].endswith("not reproduced")
    assert "1 of 2 comparisons have an interval without zero." in both
    assert "it stays clear in 1 of them" in both


def test_what_a_study_plans_is_listed_and_not_shown(tmp_path):
    """A system's line counts it, beside the words of what was run."""
    planned = {
        "claim": "denoising helps", "study": "derivatives", "arm": "derivative-denoising", "tasks": ["phonons"],
        "labels": {100: None, 500: None},
    }  # fmt: skip
    run = {"claim": "it helps", "arm": "better", "tasks": [TASKS[0]], "labels": {100: None}}
    page = CLAIMS["page"](listed([run, planned]), results(tmp_path))
    assert "| [P](#p) | it helps | 1 | 0 | 0 | 2 | Reproduced with 100 labels |" in page
    link = "[`derivative-denoising` against `scratch`](../benchmarks/derivatives.yaml)"
    assert f"| claim | compared here |\n| --- | --- |\n| denoising helps | {link}: phonons |" in page
    assert page.count("`derivative-denoising`") == 1
    page = CLAIMS["page"](listed([planned]), tmp_path)
    assert "| [P](#p) | denoising helps | 0 | 0 | 0 | 2 | Not run yet with 100 and 500 labels |" in page


@pytest.mark.parametrize(
    "wrong", [{"arm": "derivative-denoiser"}, {"tasks": ["phonon"]}, {"labels": {50: None}}, {"encoder": "TensorNet"},
              {"method": "ridge"}, {"study": "nowhere"}],
)  # fmt: skip
def test_what_no_study_plans_is_an_error(tmp_path, wrong):
    claim = {
        "claim": "c",
        "study": "derivatives",
        "arm": "derivative-denoising",
        "tasks": ["phonons"],
        "labels": {100: None},
    }
    with pytest.raises(ValueError, match="have no pair"):
        CLAIMS["page"](listed([claim | wrong]), tmp_path)


def test_what_has_no_interval_or_no_pairs_is_no_row(tmp_path):
    claim = {"claim": "c", "arm": "better", "tasks": [TASKS[0]], "labels": {100: None}}
    with pytest.raises(ValueError, match="no interval"):
        CLAIMS["page"](listed([claim]), results(tmp_path, seeds=2))
    with pytest.raises(ValueError, match="no pair of 100 labels of nothing"):
        CLAIMS["page"](listed([claim | {"tasks": ["nothing"]}]), results(tmp_path))


def test_moments_are_compared_by_what_the_probes_minimise(tmp_path):
    lines = ["encoder,arm,layers,probe,seed,fold,mae,r2", "-,composition,-,kernel ridge,0,0,1,0.75"]
    lines += [f"M3GNet,random,0+1,kernel ridge,{seed},0,1,0.0" for seed in (0, 1)] + ["M3GNet,random,3,ridge,0,0,1,0"]
    (tmp_path / "magnetism.csv").write_text("\n".join(lines))
    found = CLAIMS["scores"]("magnetism", "kernel-ridge", tmp_path)
    assert {(s.arm, s.seed, s.mae) for s in found if s.arm == "composition"} == {
        ("composition", n, 0.5) for n in (0, 1)
    }
    assert {(s.encoder, s.arm, s.mae) for s in found if s.arm != "composition"} == {
        ("M3GNet", "random, layers 0+1", 1.0)
    }
