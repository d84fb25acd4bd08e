"""Which pretexts collapse, and what the collapse monitor says of it.

    MATGL_SSL_DATA=... python benchmarks/collapse.py            # trains what has no run directory yet, then reports
    python benchmarks/collapse.py --report-only                 # the figure from collapse.csv

MEGNet of MatGL's default size on 2,000 crystals of ``mp37k/train.parquet`` with at most 20 atoms; the same crystals,
batches, steps and learning rate for every arm. ``constant`` is the control: an encoder whose weights are zero, which
gives all crystals the same vector, at a learning rate that leaves it so. One arm goes on from the masked-atoms encoder
instead of a new one. Writes ``benchmarks/results/collapse.csv`` (the monitor's numbers and verdict at each epoch; epoch
0 is the encoder before training) and ``collapse.png``: four of them, with the thresholds below which the monitor warns.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
METRICS = {"collapse_std": "spread", "collapse_rank": "rank", "collapse_structure": "response to compression"}
FLOOR = 1e-7  # where the logarithmic axis ends
OPTIONS = {"n_crystals": 2000, "max_atoms": 20, "epochs": 5, "batch_size": 64, "lr": 1e-3, "accelerator": "cpu"}
MASKED = [{"name": "masked-atoms"}]
POSITIVES = {"loss": "cosine", "distance": 0.5, "min_distance": 0.1, "projector": []}
ARMS: dict[str, dict[str, Any]] = {
    "contrast only (DSSL)": {"pretexts": [{"name": "contrast", "arguments": POSITIVES}]},
    "masked atoms": {"pretexts": MASKED},
    "contrast only, after masked atoms": {"pretexts": [{"name": "contrast", "arguments": POSITIVES}]},
    "DSSL": {"recipe": "dssl"},
    "Crystal Twins, Barlow": {"recipe": "crystal-twins-barlow"},
    "Crystal Twins, SimSiam": {"recipe": "crystal-twins-simsiam"},
    "constant": {"pretexts": MASKED, "lr": 1e-12},
}
SHOWN = {"contrast only (DSSL)": "contrast only", "DSSL": "DSSL", "Crystal Twins, Barlow": "Barlow Twins",
         "Crystal Twins, SimSiam": "SimSiam"}  # fmt: skip
"""What the figure shows, and how it is labelled there; the table has all."""


def constant_megnet() -> Any:
    """A MEGNet that does not look at its input."""
    import torch

    from matgl_ssl.hub import new_model

    model = new_model("MEGNet", {})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def folder(arm: str, runs: Path) -> Path:
    """Where an arm is trained."""
    return runs / "".join(c for c in arm.replace(" ", "-") if c.isalnum() or c == "-")


def run(arm: str, runs: Path) -> list[dict[str, Any]]:
    """Pretrain one arm, if it is not there yet, and read the monitor's numbers."""
    import torch

    import matgl_ssl
    from matgl_ssl.training.collapse import CollapseMonitor

    out = folder(arm, runs)
    if not (out / "encoder").exists():
        models = {"constant": constant_megnet, "contrast only, after masked atoms": lambda: first_of(runs)}
        model = models.get(arm, lambda: "MEGNet")()
        data = Path(os.environ["MATGL_SSL_DATA"]) / "mp37k" / "train.parquet"
        matgl_ssl.pretrain(data=data, out=out, model=model, **{**OPTIONS, **ARMS[arm]})
    monitor = CollapseMonitor()
    states = torch.load(out / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)["callbacks"]
    monitor.load_state_dict(next(s for name, s in states.items() if name.startswith("CollapseMonitor")))
    rows: list[dict[str, Any]] = [{"arm": arm, "epoch": 0, "collapse_structure": monitor.structure_before}]
    with (out / "metrics.csv").open(newline="") as f:
        for row in csv.DictReader(f):
            if row.get("collapse_std"):
                values = [float(row[m]) for m in METRICS]
                numbers = dict(zip(METRICS, values, strict=True))
                epoch = int(float(row["epoch"])) + 1
                rows.append({"arm": arm, "epoch": epoch, **numbers, "warned": monitor.verdict(*values)})
    return rows


def first_of(runs: Path) -> str:
    """The masked-atoms arm's encoder."""
    run("masked atoms", runs)
    return str(folder("masked atoms", runs) / "encoder")


def plot(rows: list[dict[str, Any]], thresholds: Mapping[str, float], path: Path) -> None:
    """One panel per metric, a line for each of ``SHOWN``, crosses where the monitor warned, the thresholds dotted."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from matgl_ssl.evaluation.figures import SAFE, label_ends

    colours = dict(zip([*SHOWN, *SHOWN.values()], [*SAFE[: len(SHOWN)], *SAFE[: len(SHOWN)]], strict=True))
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (metric, title) in zip(figure.subplots(1, len(METRICS)), METRICS.items(), strict=True):
        ends = {}
        for name, label in SHOWN.items():
            own = [row for row in rows if row["arm"] == name and row.get(metric)]
            values = [max(float(row[metric]), FLOOR) for row in own]
            epochs = [int(row["epoch"]) for row in own]
            axes.plot(epochs, values, "-", color=colours[name])
            for epoch, value, row in zip(epochs, values, own, strict=True):
                axes.plot(epoch, value, "x" if row["warned"] else "o", color=colours[name], ms=5)
            ends[label] = values[-1]
        axes.axhline(thresholds[metric], color="black", ls=":", lw=1)
        axes.set(xlabel="epoch", title=f"{title} ({metric})", yscale="log")
        label_ends(axes, ends | {"threshold": thresholds[metric]}, colours | {"threshold": "black"})
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/collapse"), help="where run directories go")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--report-only", action="store_true", help="draw the figure of what was measured")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if not args.report_only:
        rows = [row for arm in args.arms for row in run(arm, args.runs)]
        with (RESULTS / "collapse.csv").open("w", newline="") as f:
            writer = csv.DictWriter(f, ["arm", "epoch", *METRICS, "warned"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    with (RESULTS / "collapse.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))

    from matgl_ssl.training.collapse import CollapseMonitor

    monitor = CollapseMonitor()
    thresholds = dict(zip(METRICS, (monitor.min_std, monitor.min_rank, monitor.min_structure), strict=True))
    plot(rows, thresholds, RESULTS / "collapse.png")


if __name__ == "__main__":
    main()
