"""``fit`` on the embedded data: ``python -m matgl_ssl.demo`` (what ``make demo`` runs).

The labels are bulk moduli of alloys, which effective medium theory (EMT, in ASE) computes on the spot. ``fit`` learns
from 100 of them. The demo then predicts alloys whose formulas have no label in the table, and compares with the median,
the best single learner of the fit, a MEGNet from scratch, and the plain MatGL model that ``fit`` leaves.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from matgl_ssl.console import configure_logging
from matgl_ssl.crystals import CrystalDataset, demo_task
from matgl_ssl.ensemble.fit import fit
from matgl_ssl.ensemble.predict import predict
from matgl_ssl.ensemble.predictor import Predictor
from matgl_ssl.training.finetune import finetune

TARGET, UNIT = "bulk_modulus", "GPa"
SCRATCH = "MEGNet from scratch"


@dataclass(frozen=True)
class Demo:
    """What the demo found on held-out crystals.

    Attributes:
        errors: Mean absolute error in GPa of each method.
        predictions: A row for each held-out crystal: ``id``, ``formula``, ``computed``, ``predicted``, ``lower``,
            ``upper`` in GPa, and ``inside``: whether the computed value lies in the interval.
        out_of_fold: Mean absolute error in GPa that ``fit`` expected from the labelled crystals alone.
        confidence: Share of crystals that the intervals are made to cover.
    """

    errors: dict[str, float]
    predictions: pd.DataFrame
    out_of_fold: float
    confidence: float

    def __str__(self) -> str:
        scratch = self.errors[SCRATCH]
        width = max(map(len, self.errors)) + 2
        lines = [f"{TARGET} of {len(self.predictions)} held-out alloys, whose formulas have no label", ""]
        lines.append(f"{'method':<{width}}{f'error ({UNIT})':>12}{'against scratch':>18}")
        lines += [f"{name:<{width}}{error:>12.2f}{error / scratch - 1:>+18.0%}" for name, error in self.errors.items()]
        inside = self.predictions["inside"]
        covered = f"{inside.sum()} of {len(inside)} computed values ({inside.mean():.0%})"
        lines += [
            "",
            f"Errors are mean absolute errors. From the labels alone, fit expected {self.out_of_fold:.2f} {UNIT}.",
            f"{covered} lie in their {self.confidence:.0%} interval.",
        ]
        return "\n".join(lines)


def run(out: Path, *, n_labels: int = 100, n_crystals: int = 300, epochs: int = 30) -> Demo:
    """Fit, predict crystals of other formulas, and compare.

    Args:
        out: Where the tables and the models go; must not hold an earlier demo.
        n_labels: Crystals to learn from.
        n_crystals: Crystals that are made; those of formulas without a label are predicted.
        epochs: Passes over the labels in each fine-tuning. The network from scratch gets twice as many.

    Returns:
        Errors and predictions, which are also written to ``predictions.csv``.
    """
    task = demo_task(n_crystals)
    formulas = task.formulas()
    labelled = task.select(range(n_labels))
    known = set(formulas[:n_labels])
    others = task.select([i for i in range(n_labels, n_crystals) if formulas[i] not in known])
    out.mkdir(parents=True, exist_ok=True)
    labelled.write_parquet(out / "labelled.parquet")
    others.write_parquet(out / "held-out.parquet")
    fitted = fit(
        data=out / "labelled.parquet", target=[TARGET], unit=UNIT, out=out / "fit", fine_tunings=1,
        finetune={"epochs": epochs}, unlabelled=str(out / "held-out.parquet"), accelerator="cpu",
    )  # fmt: skip
    scratch = finetune(
        model="MEGNet", init_from="scratch", data=out / "labelled.parquet", target=TARGET, unit=UNIT,
        out=out / "scratch", test_fraction=0.0, epochs=2 * epochs, batch_size=16, lr=3e-3, accelerator="cpu",
    )  # fmt: skip

    said = pd.DataFrame([vars(p) for p in predict(model=fitted.out, data=others)])
    computed = others.column(TARGET)
    best, of_best = _best_learner(fitted.out, others)
    ways = {
        "median of the labels": np.median(labelled.column(TARGET)),
        SCRATCH: _values(scratch.model, others),
        f"best learner: {best}": of_best,
        "fit, all learners together": said["value"],
        "fit, its plain MatGL model": _values(fitted.out / "model", others),
    }
    table = said[["id", "value", "lower", "upper"]].rename(columns={"value": "predicted"})
    table.insert(1, "formula", others.formulas())
    table.insert(2, "computed", computed)
    table["inside"] = table["computed"].between(table["lower"], table["upper"])
    table.to_csv(out / "predictions.csv", index=False)
    errors = {name: float(np.abs(values - computed).mean()) for name, values in ways.items()}
    return Demo(errors, table, fitted.targets[TARGET].error, float(said["confidence"].iloc[0]))


def _values(model: Path | None, crystals: CrystalDataset) -> np.ndarray:
    assert model is not None  # noqa: S101 - both runs leave one
    return np.array([p.value for p in predict(model=model, data=crystals)])


def _best_learner(folder: Path, crystals: CrystalDataset) -> tuple[str, np.ndarray]:
    """The learner that erred least out of fold, of those that count, and what it says of crystals."""
    predictor = Predictor.load(folder)
    (target,) = predictor.targets
    best = min(target.counting, key=lambda member: member["error"])
    return best["name"], target.said(best, predictor.inputs(crystals))[:, 0]


def figure(found: Demo, path: Path) -> None:
    """Draw each prediction with its interval, and the errors of the table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(canvas)
    parity, bars = canvas.subplots(1, 2)
    table = found.predictions
    ends = [table["computed"].min(), table["computed"].max()]
    for inside, colour in ((True, "tab:blue"), (False, "tab:orange")):
        rows = table[table["inside"] == inside]
        reach = [rows["predicted"] - rows["lower"], rows["upper"] - rows["predicted"]]
        label = f"{len(rows)} in their interval" if inside else f"{len(rows)} outside"
        parity.errorbar(
            rows["computed"], rows["predicted"], yerr=reach, fmt=".", lw=0.6, ms=5, color=colour, label=label
        )
    parity.plot(ends, ends, "k--", lw=0.8)
    parity.set(xlabel=f"computed bulk modulus ({UNIT})", ylabel=f"predicted, with {found.confidence:.0%} interval")
    parity.set_title("held-out alloys", fontsize=10)
    parity.legend(frameon=False)
    names = [name.replace(": ", ":\n").replace(", ", ",\n") for name in found.errors]
    drawn = bars.barh(names, list(found.errors.values()), color="tab:blue")
    bars.bar_label(drawn, fmt="%.1f", padding=3)
    bars.invert_yaxis()
    bars.margins(x=0.15)
    bars.set(xlabel=f"mean absolute error ({UNIT})")
    canvas.savefig(path, dpi=150)


def main() -> None:
    """Run the demo and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the demo (default: demo)")
    args = parser.parse_args()
    configure_logging(logging.INFO)
    start = time.perf_counter()
    found = run(args.out)
    figure(found, args.out / "demo.png")
    print(f"\n{found}\n")
    print(f"figure       {args.out / 'demo.png'}")
    print(f"predictions  {args.out / 'predictions.csv'}")
    print(f"report       {args.out / 'fit' / 'report.md'}")
    print(f"next         mgl-ssl predict -m {args.out / 'fit'} --data POSCAR")
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
