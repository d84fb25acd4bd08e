"""Write docs/claims.md: what papers claim, and what the committed scores show.

    python benchmarks/claims.py

It also fills the verdict on each system's page (``docs/systems``), between ``<!-- verdict: PAPER -->`` and its end.
``claims.yaml`` lists the claims. Intervals and the words beside them are computed from ``results``, never typed. What a
study plans and has not run is named as such.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from matgl_ssl.evaluation.config import BenchmarkConfig, RoundConfig, read_benchmark
from matgl_ssl.evaluation.statistics import Interval, Score, adjusted, interval, log_ratios, over_tasks

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CLAIMS = Path(__file__).with_suffix(".yaml")
PAGE = ROOT / "docs" / "claims.md"
SYSTEMS = ROOT / "docs" / "systems"
STUDIES = Path(__file__).parent
WORDS = ("reproduced", "not reproduced", "reversed")
WAITING = "not run yet"
VERDICT = re.compile(r"<!-- verdict: (.+) -->\n(?:.*\n)*?<!-- /verdict -->")
ABOUT = """\
# Published claims and ours

Written by `python benchmarks/claims.py` from the scores in `benchmarks/results` and the list in
`benchmarks/claims.yaml`.

| system | what it claims first | reproduced | not reproduced | reversed | not run yet | so far |
| --- | --- | --- | --- | --- | --- | --- |
{summary}

One comparison with one number of labels counts once. The last column takes the first claim alone.

- **Reproduced**: the 95 % interval lies on the side that the paper claims.
- **Reversed**: it lies on the other side.
- **Not reproduced**: it contains zero, so this data cannot decide. That is not evidence of no effect.
- **Not run yet**: a study plans the comparison, and has no scores yet. Each paper's are listed below its table.

Each word is about its own comparison. {stand}

Failed runs count. With 100 labels some runs of `scratch` did not train, which makes every method look better against
it. The notes in [its table](../benchmarks/results/evidence/table.md) have the numbers without them.

Models and splits differ from those of the papers. So a row tests whether a claim carries over to MatGL's models at our
budget. It does not check the paper's numbers. What differs is below each table.
[The data page](../benchmarks/data.md) describes the tasks.

In the tables below, numbers are differences of errors in per cent with Student's 95 % interval; negative ones are
smaller errors. Published differences are in brackets after the word.
"""
STAND = """\
{clear} of {all} comparisons have an interval without zero.
Each test is also adjusted for all comparisons of the page (Benjamini and Hochberg).
At a false discovery rate of 5 % it stays clear in {adjusted} of them, which have a star.
So a single word is a hint; several words that agree for one claim are more.\
"""


class Claim(NamedTuple):
    """A comparison that tests a claim; ``labels`` maps numbers of labels to what was published, in per cent."""

    claim: str
    arm: str
    tasks: list[str]
    labels: dict[int | str, float | None]
    reference: str = "scratch"
    study: str = "evidence"
    method: str = "fine-tune"
    encoder: str = "MEGNet"
    direction: str = "lower"


class Paper(NamedTuple):
    """The claims of a paper, the main one first."""

    paper: str
    reference: str
    source: str
    differs: str
    claims: list[Claim]
    untested: Sequence[str] = ()


def papers(text: str) -> list[Paper]:
    """As ``claims.yaml`` lists them."""
    return [Paper(**{**one, "claims": [Claim(**claim) for claim in one["claims"]]}) for one in yaml.safe_load(text)]


def scores(study: str, method: str, results: Path = RESULTS) -> list[Score]:
    """What a study measured by a method."""
    if study == "magnetism":
        return list(_magnetism(results / "magnetism.csv", method.replace("-", " ")))
    suffix = "" if method == "fine-tune" else f"-{method}"
    path = results / study / f"scores{suffix}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Score(
            r["task"], r["encoder"], r["arm"], _labels(r["n_labels"]), int(r["seed"]), int(r["fold"]), float(r["mae"])
        )
        for r in rows
    ]


def is_planned(claim: Claim, n: int | str) -> bool:
    """Whether the study's file has rounds with both arms, on all tasks: else a name in ``claims.yaml`` is wrong."""
    path = STUDIES / f"{claim.study}.yaml"
    if not path.exists():
        return False
    rounds = [
        one for one in _rounds(path)
        if n in one.labels and claim.method == one.method and claim.encoder in one.encoders
    ]  # fmt: skip
    arms = (claim.arm, claim.reference)
    return all(any(task in one.tasks and arm in one.arms for one in rounds) for task in claim.tasks for arm in arms)


@cache
def _rounds(path: Path) -> list[RoundConfig]:
    return BenchmarkConfig.build(read_benchmark(path)).rounds


def _magnetism(path: Path, probe: str) -> Iterator[Score]:
    """Root mean squared errors, which the probes minimise, over the labels' deviation; the composition has no seeds."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["probe"] == probe]
    seeded = {(row["encoder"], int(row["seed"])) for row in rows if row["encoder"] != "-"}
    for row in rows:
        alone = row["encoder"] == "-"
        arm = row["arm"] if alone else f"{row['arm']}, layers {row['layers']}"
        for encoder, seed in seeded if alone else [(row["encoder"], int(row["seed"]))]:
            yield Score("cell moments", encoder, arm, "all", seed, int(row["fold"]), math.sqrt(1 - float(row["r2"])))


def _labels(n: str) -> int | str:
    return int(n) if n.isdigit() else n


def compared(claim: Claim, n: int | str, found: list[Score]) -> Interval:
    """The logarithm of the ratio of errors: of one task, or the mean over three or more.

    Raises:
        ValueError: if there are too few pairs, or tasks, for an interval.
    """
    rows = [s for s in found if (s.encoder, s.n_labels) == (claim.encoder, n) and s.task in claim.tasks]
    by_task = log_ratios(rows, claim.arm, claim.reference)
    if set(by_task) != set(claim.tasks):
        missing = ", ".join(task for task in claim.tasks if task not in by_task)
        raise ValueError(f"{claim.claim!r}: {claim.arm} and {claim.reference} have no pair of {n} labels of {missing}.")
    ours = interval(by_task[claim.tasks[0]]) if len(claim.tasks) == 1 else over_tasks(by_task)
    if math.isnan(ours.p):
        raise ValueError(f"{claim.claim!r}: {ours.n} pairs of {len(by_task)} tasks have no interval.")
    return ours


def word(ours: Interval, direction: str) -> str:
    """What an interval means for a claim that errors are ``lower`` or ``higher``."""
    if ours.low <= 0 <= ours.high:
        return "not reproduced"
    return "reproduced" if (ours.high < 0) == (direction == "lower") else "reversed"


def percent(ours: Interval) -> str:
    """``-11.2 [-18.4, -3.3]``."""
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*ours.percent()[:3])


Key = tuple[int, int, int | str]
"""Paper, claim, number of labels."""


def page(listed: list[Paper], results: Path = RESULTS) -> str:
    """The page as Markdown. Comparisons that a study plans and has no scores of are named and not shown.

    Raises:
        ValueError: If a comparison has neither scores nor a plan.
    """
    found, waiting = _all_compared(listed, results)
    clear = {key for key, ours in found.items() if not ours.low <= 0 <= ours.high}
    stars = {key for key, ours in adjusted(found).items() if key in clear and ours.p < 0.05}
    told = STAND.format(all=len(found), clear=len(clear), adjusted=len(stars))
    summary = "\n".join(_summary(i, paper, found, waiting) for i, paper in enumerate(listed))
    parts = [ABOUT.format(stand=told, summary=summary)]
    for i, paper in enumerate(listed):
        notes = [f"**What differs.** {paper.differs}"]
        if paper.untested:
            notes.append(f"**Not tested here:** {', '.join(paper.untested)}.")
        planned = {j for paper_number, j, _ in waiting if paper_number == i}
        if rows := [_line([claim.claim, _what(claim, planned=True)])
                    for j, claim in enumerate(paper.claims) if j in planned]:  # fmt: skip
            heading = [_line(["claim", "compared here"]), _line(["---"] * 2)]
            notes.append("\n".join(["**Not run yet:**\n", *heading, *rows]))
        table = _table(i, paper, found, stars)
        parts.append("\n\n".join([f"## {paper.paper}", f"{paper.reference}. Published numbers: {paper.source}.",
                                  *filter(None, [table, *notes])]))  # fmt: skip
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def verdicts(listed: list[Paper], results: Path = RESULTS) -> dict[str, str]:
    """The summary of each paper's claims, as a table with a link to all of them."""
    found, waiting = _all_compared(listed, results)
    header = ["comparisons", "first claim", *WORDS, WAITING, "so far"]
    tables = {}
    for i, paper in enumerate(listed):
        row = _summary(i, paper, found, waiting, link=f"[all](../claims.md#{_anchor(paper.paper)})")
        tables[paper.paper] = "\n".join([_line(header), _line(["---"] * len(header)), row])
    return tables


def with_verdicts(text: str, tables: Mapping[str, str]) -> str:
    """A system's page, with the table of its paper between the marks.

    Raises:
        KeyError: If a mark names a paper that is not listed.
    """
    return VERDICT.sub(lambda mark: f"<!-- verdict: {mark[1]} -->\n{tables[mark[1]]}\n<!-- /verdict -->", text)


def _all_compared(listed: list[Paper], results: Path) -> tuple[dict[Key, Interval], dict[Key, Claim]]:
    """What the scores say of each comparison, and those that are planned and have no scores."""
    found: dict[Key, Interval] = {}
    waiting: dict[Key, Claim] = {}
    for i, paper in enumerate(listed):
        for j, claim in enumerate(paper.claims):
            for n in claim.labels:
                try:
                    found[i, j, n] = compared(claim, n, _scores(claim.study, claim.method, results))
                except ValueError:
                    if not is_planned(claim, n):
                        raise
                    waiting[i, j, n] = claim
    return found, waiting


@cache
def _scores(study: str, method: str, results: Path) -> list[Score]:
    return scores(study, method, results)


def _summary(i: int, paper: Paper, found: Mapping[Key, Interval], waiting: Mapping[Key, Claim], link: str = "") -> str:
    """One line per system: its first claim, the words counted, and what became of that claim."""
    words = Counter(word(ours, paper.claims[key[1]].direction) for key, ours in found.items() if key[0] == i)
    first = paper.claims[0]
    said: dict[str, list[str]] = {}
    for n in first.labels:
        of = WAITING if (i, 0, n) in waiting else word(found[i, 0, n], first.direction)
        said.setdefault(of, []).append(str(n))
    so_far = "; ".join(f"{of} with {_and(labels)} labels" for of, labels in said.items())
    so_far = so_far[:1].upper() + so_far[1:]
    link = link or f"[{paper.paper}](#{_anchor(paper.paper)})"
    n_waiting = sum(key[0] == i for key in waiting)
    return _line([link, first.claim, *(str(words[one]) for one in WORDS), str(n_waiting), so_far])


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _table(i: int, paper: Paper, found: Mapping[Key, Interval], stars: AbstractSet[Key]) -> str:
    """A row a comparison, a column a number of labels."""
    labels = sorted({key[2] for key in found if key[0] == i}, key=lambda n: math.inf if n == "all" else int(n))
    header = ["claim", "compared here", *(f"{n} labels" for n in labels)]
    rows = [
        _line([claim.claim, _what(claim), *(_entry((i, j, n), claim, found, stars) for n in labels)])
        for j, claim in enumerate(paper.claims)
        if any((i, j, n) in found for n in labels)
    ]
    return "\n".join([_line(header), _line(["---"] * len(header)), *rows]) if rows else ""


def _entry(key: Key, claim: Claim, found: Mapping[Key, Interval], stars: AbstractSet[Key]) -> str:
    """``-11.2 [-18.4, -3.3] reproduced (-26.9)``."""
    if key not in found:
        return ""
    published = claim.labels[key[2]]
    parts = [percent(found[key])]
    parts.append(word(found[key], claim.direction) + "*" * (key in stars))
    return " ".join([*parts, *([] if published is None else [f"({published:+.1f})"])])


def _what(claim: Claim, *, planned: bool = False) -> str:
    """``[`dssl` against `scratch`](...): phonons, frozen``; of what is planned the link is to the study's file."""
    table = "results/magnetism.md" if claim.study == "magnetism" else f"results/{claim.study}/table.md"
    table = f"{claim.study}.yaml" if planned else table
    tasks = claim.tasks[0] if len(claim.tasks) == 1 else f"{len(claim.tasks)} tasks"
    how = [] if claim.method == "fine-tune" else [f"{claim.method} on frozen vectors"]
    how += [claim.encoder] * (claim.encoder != "MEGNet")
    link = f"[`{claim.arm}` against `{claim.reference}`](../benchmarks/{table})"
    return f"{link}: {', '.join([tasks, *how])}"


def _and(words: Sequence[str]) -> str:
    """``50, 100 and 250``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entries)} |"


if __name__ == "__main__":
    all_papers = papers(CLAIMS.read_text(encoding="utf-8"))
    PAGE.write_text(page(all_papers), encoding="utf-8")
    all_verdicts = verdicts(all_papers)
    for path in SYSTEMS.glob("*.md"):
        path.write_text(with_verdicts(path.read_text(encoding="utf-8"), all_verdicts), encoding="utf-8")
