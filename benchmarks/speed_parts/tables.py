"""``results/speed/README.md``: the parts' results as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .common import Settings

Row = Mapping[str, Any]


def ratio(measured: Row) -> str:
    """Median and quartiles."""
    return f"**{measured['ratio']:.2f}** [{measured['quartiles'][0]:.2f}, {measured['quartiles'][1]:.2f}]"


def steps(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """Steps against MatGL's."""
    yield [
        "step", "batch", "MatGL's Lightning step (ms)", "ours (ms)", "ratio", "bare model, plain (ms)",
        "accelerated (ms)", "ratio", "plain: its products alone (ms)", "accelerated: compiled passes (ms)",
        "of that, products (ms)", "activations (ms)", "rows moved (ms)",
    ]  # fmt: skip
    for name, row in rows.items():
        if not name.endswith("equality"):
            whole, bare = row["lightning"], row["model"]
            parts = ("compiled", "compiled_products", "compiled_activations", "compiled_moved")
            times = [bare.get(f"{part}_ms", "") for part in ("plain_products", *parts)]
            yield [
                name, row["batch"], whole["matgl_ms"], whole["ours_ms"], ratio(whole), bare["plain_ms"],
                bare["accelerated_ms"], ratio(bare), *times,
            ]  # fmt: skip


def equality(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """By how much accelerated and plain differ."""
    names = ("output", "forces", "stresses", "all_gradients", "worst_gradient")
    yield ["difference, norm over norm", *(name.replace("_", " ") for name in names)]
    for name, row in rows.items():
        if name.endswith("equality"):
            for dtype, errors in row.items():
                if isinstance(errors, Mapping):
                    yield [f"{name.removesuffix(', equality')}, {dtype}", *(errors.get(k, "") for k in names)]


def recipes(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """Steps against encoder passes."""
    yield ["recipe", "batch", "views", "edges", "step (ms)", "passes (ms)", "step over passes", "without the optimiser"]
    for name, row in rows.items():
        edges = " + ".join(f"{n:,}" for n in row["edges"])
        yield [
            name, row["batch"], row["views"], edges, row["step_ms"], row["passes_ms"], ratio(row),
            ratio(row["without_optimizer"]),
        ]  # fmt: skip


def pipeline(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """From file to weights."""
    yield [
        "pretraining", "first epoch, structures/s, MatGL", "ours", "ratio", "later epochs, MatGL", "ours", "ratio",
        "file to weights", "waiting, by epoch (%)",
    ]  # fmt: skip
    for name, row in rows.items():
        rates = row["structures_per_second"]
        waiting = ", ".join(f"{100 * share:.1f}" for shares in row["waiting"].values() for share in shares)
        laps = [x for lap in ("first", "later") for x in (*rates[lap].values(), ratio(row[lap]))]
        yield [name, *laps, ratio(row["total"]), waiting]


def sizes(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """Time and memory against size."""
    yield ["pass", "edges", "plain (ms)", "accelerated (ms)", "ratio", "plain (MiB)", "accelerated (MiB)"]
    for name, row in rows.items():
        times = [row["plain_ms"], row["accelerated_ms"], f"**{row['ratio']:.2f}**"]
        yield [name, f"{row['edges']:,}", *times, row["plain_MiB"], row["accelerated_MiB"]]


def memory(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """Memory against rows."""
    names = {
        "parquet_MiB": "Parquet (MiB)", "cache_MiB": "cache (MiB)", "imported_MiB": "after imports (MiB)",
        "before_steps_MiB": "peak before the steps (MiB)", "steps_MiB": "peak during the steps (MiB)",
        "seconds_before_steps": "before the steps (s)", "seconds_of_steps": "steps (s)",
    }  # fmt: skip
    yield ["table", *names.values()]
    for name, row in rows.items():
        yield [name, *(row[k] for k in names)]


def inference(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """Inference, accelerated against plain."""
    yield ["work", "unit", "plain", "accelerated", "ratio"]
    for name, row in rows.items():
        unit = next(k for k in row if k.endswith("_per_second"))
        yield [name, unit.replace("_per_second", "/s"), *(row[unit][k] for k in ("plain", "accelerated")), ratio(row)]


def copies(rows: Mapping[str, Row]) -> Iterable[list[Any]]:
    """What equal atoms and edges save."""
    yield ["crystals", "atoms", "left", "edges", "left", "passes, all (ms)", "one of each (ms)", "ratio"]
    for name, row in rows.items():
        counts = [f"{row[k]:,}" for k in ("atoms", "atoms_left", "edges", "edges_left")]
        yield [name, *counts, row["all_ms"], row["one_of_each_ms"], ratio(row)]


TABLES: dict[str, tuple[Callable[[Mapping[str, Row]], Iterable[list[Any]]], ...]] = {
    "step": (steps, equality), "recipes": (recipes,), "pipeline": (pipeline,), "sizes": (sizes,), "rows": (memory,),
    "inference": (inference,), "copies": (copies,),
}  # fmt: skip


def run(settings: Settings) -> None:
    """Write the page."""
    lines = ["# Speed", "", "Written by `python benchmarks/speed.py tables` from the JSON files beside it.", ""]
    for part, tables in TABLES.items():
        path: Path = settings.results / f"{part}.json"
        if path.exists():
            found = json.loads(path.read_text())
            about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
            lines += [f"## {part}", "", f"{about}.", ""]
            for table in tables:
                head, *body = table(found["rows"])
                lines += [f"| {' | '.join(map(str, head))} |", "|---" * len(head) + "|"]
                lines += [f"| {' | '.join(map(str, row))} |" for row in body] + [""]
    (settings.results / "README.md").write_text("\n".join(lines))
