"""Write docs/claims.md: what papers claim, and what the committed scores say of it.

    python benchmarks/claims.py

``claims.yaml`` lists the claims. Intervals and the words beside them are computed from ``results``, never typed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from matgl_ssl.evaluation.statistics import Interval, Score, adjusted, interval, log_ratios, over_tasks

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CLAIMS = Path(__file__).with_suffix(".yaml")
PAGE = ROOT / "docs" / "claims.md"
HEADER = ("claim", "compared here", "labels", "published", "here, 95 % interval", "so it is", "adjusted p")
ABOUT = """\
# Published claims and ours

Written by `python benchmarks/claims.py` from the scores in `benchmarks/results` and the list in
`benchmarks/claims.yaml`.

Each row takes one claim of a paper and the comparison here that comes nearest to it. Numbers are differences of errors
in per cent; negative ones are smaller errors. The interval is Student's 95 % interval, as in every table of
[the benchmarks](../benchmarks/README.md).

- **reproduced**: the interval lies on the side that the paper claims.
- **reversed**: it lies on the other side.
- **not reproduced**: it holds zero, so this data cannot tell. That is not evidence of no effect.

Each word is about its own row. {stand}

No model and no split is the same as in the papers, and one encoder stands for each recipe. So a row tests whether a
claim carries over to MatGL's models at our budget. It does not check the paper's numbers. Below each table stands
what differs. Tasks and their names are those of [the data page](../benchmarks/data.md).
"""
STAND = """\
{clear} of {rows} rows have an interval without zero.
The last column adjusts each row's test for all rows of the page (Benjamini and Hochberg). Below 0.05 there: {adjusted}.
So a single word is a hint; several alike words for one claim are more.

Failed runs count. With 100 labels some runs of `scratch` did not train, which makes every arm look better against it:
see the notes in [its table](../benchmarks/results/evidence/table.md).\
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
    """The claims of a paper."""

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
    with (results / study / f"scores{suffix}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Score(
            r["task"], r["encoder"], r["arm"], _labels(r["n_labels"]), int(r["seed"]), int(r["fold"]), float(r["mae"])
        )
        for r in rows
    ]


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
    """What an interval says of a claim that errors are ``lower`` or ``higher``."""
    if ours.low <= 0 <= ours.high:
        return "not reproduced"
    return "reproduced" if (ours.high < 0) == (direction == "lower") else "reversed"


def page(listed: list[Paper], results: Path = RESULTS) -> str:
    """The page as Markdown."""
    read: dict[tuple[str, str], list[Score]] = {}
    found: dict[tuple[int, int, int | str], Interval] = {}
    for i, paper in enumerate(listed):
        for j, claim in enumerate(paper.claims):
            key = claim.study, claim.method
            if key not in read:
                read[key] = scores(*key, results)
            found |= {(i, j, n): compared(claim, n, read[key]) for n in claim.labels}
    p = {key: ours.p for key, ours in adjusted(found).items()}
    clear = [key for key, ours in found.items() if not ours.low <= 0 <= ours.high]
    told = STAND.format(rows=len(found), clear=len(clear), adjusted=sum(p[key] < 0.05 for key in clear))
    parts = [ABOUT.format(stand=told)]
    for i, paper in enumerate(listed):
        lines = [_line(HEADER), _line(["---"] * len(HEADER))]
        for j, claim in enumerate(paper.claims):
            for n, published in claim.labels.items():
                ours, theirs = found[i, j, n], "-" if published is None else f"{published:+.1f}"
                numbers = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*ours.percent()[:3])
                said = word(ours, claim.direction)
                lines.append(_line([claim.claim, _what(claim), str(n), theirs, numbers, said, f"{p[i, j, n]:.2g}"]))
        notes = [f"**What differs.** {paper.differs}", f"**Not tested here:** {', '.join(paper.untested)}."]
        parts.append("\n\n".join([f"## {paper.paper}", f"{paper.reference}. Published numbers: {paper.source}.",
                                  "\n".join(lines), *notes[: 1 + bool(paper.untested)]]))  # fmt: skip
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _what(claim: Claim) -> str:
    """``[`dssl` against `scratch`](...): phonons, frozen``."""
    table = "magnetism.md" if claim.study == "magnetism" else f"{claim.study}/table.md"
    tasks = claim.tasks[0] if len(claim.tasks) == 1 else f"{len(claim.tasks)} tasks"
    how = [] if claim.method == "fine-tune" else [f"{claim.method} on frozen vectors"]
    how += [claim.encoder] * (claim.encoder != "MEGNet")
    link = f"[`{claim.arm}` against `{claim.reference}`](../benchmarks/results/{table})"
    return f"{link}: {', '.join([tasks, *how])}"


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entries)} |"


if __name__ == "__main__":
    PAGE.write_text(page(papers(CLAIMS.read_text(encoding="utf-8"))), encoding="utf-8")
