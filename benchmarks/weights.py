"""Make the pretrained encoders that come with the package: corpus, pretraining, card, folder.

    MATGL_SSL_DATA=... python benchmarks/weights.py OUT [--models MEGNet M3GNet] [--epochs 40]
    python benchmarks/weights.py OUT --dgl     # afterwards, in the environment with MatGL 2.2 on DGL

The corpus is all crystals that may be redistributed: Materials Project (mp37k, mp20_biternary) and WBM under CC BY 4.0,
and prototypes that ``demo_corpus`` decorates with other elements. ``prepare`` checks them and leaves out duplicates.
Every step goes on where it was stopped; a longer run needs another OUT. Matrices are rounded to half precision before
anything is said of them: the files are half as large, and hold exactly the weights that are used.

In the other graph library messages run the other way. A model is the same function there once the two atoms of an edge
change places in its weights: ``--dgl`` does this for MEGNet, and checks that the predictions stay. M3GNet with MatGL's
default arguments is another function there (docs/architecture.md, "What MatGL 2.2 does"), so it has no weights for it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import matgl_ssl
from matgl_ssl.crystals.demo import demo_corpus
from matgl_ssl.hub import load_model, new_model, read_stamp, save_model
from matgl_ssl.hub.card import model_card, published
from matgl_ssl.hub.files import read_description
from matgl_ssl.hub.heads import heads_of
from matgl_ssl.hub.shipped import FOLDER
from matgl_ssl.hub.stamp import sign, stamp_of

ROOT = Path(__file__).parents[1]
SCORES = ROOT / "benchmarks" / "results" / "evidence" / "scores.csv"
SOURCES = {
    "mp37k/train.parquet": "CC-BY-4.0", "mp37k/val.parquet": "CC-BY-4.0", "mp37k/test.parquet": "CC-BY-4.0",
    "mp20_biternary/test.parquet": "CC-BY-4.0", "mp20_biternary/val.parquet": "CC-BY-4.0",
    "wbm10k/wbm10k.parquet": "CC-BY-4.0",
}  # fmt: skip
SOURCE = "Materials Project, WBM and decorated prototypes"
PROTOTYPES, SEED, LICENCE = 12_000, 1, "MIT"
RECIPE, EPOCHS = "textbook", 40
NAMES = {
    "mp37k": "Materials Project, the set of CGCNN (doi:10.1063/1.4812323)",
    "mp20_biternary": "Materials Project, part of MP-20 (arXiv:2110.06197)",
    "wbm10k": "WBM (doi:10.1038/s41524-020-00481-6)",
    "prototypes": "AFLOW's prototypes in pymatgen, with other elements",
}
MADE = ("recipe", "pretexts", "n_crystals", "data", "elements", "targets", "linear_heads", "kind", "readout")
"""What the shipped stamp takes over from that of the run."""


def corpus(out: Path) -> Path:
    """The crystals, in one prepared folder."""
    folder, prototypes = out / "corpus", out / "prototypes.parquet"
    if not folder.exists():
        out.mkdir(parents=True, exist_ok=True)
        if not prototypes.exists():
            demo_corpus(PROTOTYPES, seed=SEED).write_parquet(prototypes)
        data = [*(Path(os.environ["MATGL_SSL_DATA"]) / name for name in SOURCES), prototypes]
        matgl_ssl.prepare(data=data, out=folder, license=[*SOURCES.values(), LICENCE], columns=[])
    return folder


def train(model: str, out: Path, epochs: int, max_atoms: int | None) -> Path:
    """Pretrain, or go on, or export again what is done."""
    run = out / model
    options: dict[str, Any] = {"epochs": epochs, "max_atoms": max_atoms, "recipe": RECIPE, "model": model}
    return matgl_ssl.pretrain(data=corpus(out), out=run, resume=(run / "config.yaml").exists(), **options).encoder


def ship(model: str, out: Path, epochs: int, max_atoms: int | None) -> Path:
    """Round an encoder, and put it with its card where the package finds it."""
    encoder = out / model / "encoder"
    facts = {name: value for name, value in read_stamp(encoder).items() if name in MADE}
    with (out / model / "metrics.csv").open(newline="") as rows:
        facts["steps"] = max(int(float(row["step"])) for row in csv.DictReader(rows))
    facts |= {"epochs": epochs, "commit": _commit(), "data": {**facts["data"], "source": SOURCE}}
    manifest = json.loads((out / "corpus" / "manifest.json").read_text())
    return _saved(_rounded(load_model(encoder)), f"{model}-{RECIPE}", facts, _story(facts, manifest, model, max_atoms))


def convert(name: str) -> Path:
    """MEGNet's weights for the other graph library: the same predictions."""
    source = FOLDER / "pyg" / name
    description = read_description(source / "model.json")
    stamp = stamp_of(description)
    weights = torch.load(source / "state.pt", weights_only=True)
    for key in [key for key in weights if key.endswith("conv.edge_func.layers.0.weight")]:
        first, second, *others = weights[key].chunk(4, dim=1)  # an edge's source, its end, itself, the state
        weights[key] = torch.cat([second, first, *others], dim=1)
    model = new_model(stamp["architecture"], {k: v for k, v in description["kwargs"].items() if v is not None})
    model.load_state_dict(weights)
    card = (source / "README.md").read_text(encoding="utf-8")
    story = card[card.index("\n## How it was made") : card.index("\n## How to cite")]
    facts = {k: v for k, v in stamp.items() if k in (*MADE, "steps", "epochs", "commit")}
    folder = _saved(model.eval(), name, facts, story)
    theirs = stamp["references"]
    ours = read_stamp(folder)["references"]
    spread = max(map(abs, theirs.values()))
    worst = max(abs(ours[crystal] - theirs[crystal]) for crystal in theirs) / spread
    assert worst < 1e-4, f"{name} predicts otherwise on DGL: by {worst:.1e} of its largest reference"
    return folder


def _saved(model: Any, name: str, facts: dict[str, Any], story: str) -> Path:
    """The files: matrices in half precision, the stamp's digest of them, and the card."""
    folder = save_model(model, FOLDER / matgl_ssl._backend.BACKEND / name, **facts)
    state = torch.load(folder / "state.pt", weights_only=True)
    half = {key: value.half() if _halved(value) else value for key, value in state.items()}
    assert all(torch.equal(half[key].to(value), value) for key, value in state.items())
    torch.save(half, folder / "state.pt")
    sign(folder)
    card = model_card(stamp_of(read_description(folder / "model.json")))
    card = card.replace("\n## How to cite", f"{story}\n## How to cite")
    lines = (line.rstrip() for line in published(card, name, license="cc-by-4.0").splitlines())
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _rounded(model: Any) -> Any:
    with torch.no_grad():
        for value in model.state_dict().values():
            if _halved(value):
                value.copy_(value.half())
    return model


def _halved(value: torch.Tensor) -> bool:
    """Matrices; biases and radial functions are few numbers."""
    return value.is_floating_point() and value.ndim > 1


def _commit() -> str:
    """The last commit of the main branch that the code has: those after it may still be rewritten."""
    command = ["git", "-C", str(ROOT), "merge-base", "HEAD", "main"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout[:7]


def _story(facts: dict[str, Any], manifest: dict[str, Any], model: str, max_atoms: int | None) -> str:
    """The card's sections on how the encoder was made and how good it is."""
    counts: dict[tuple[str, str], list[int]] = {}
    for source in manifest["sources"]:
        path = Path(source["data"])
        name = path.parent.name if path.parent.name in NAMES else path.stem
        total = counts.setdefault((NAMES[name], source["license"]), [0, 0])
        total[0] += source["rows"]
        total[1] += source["kept"]
    rows = "\n".join(f"| {name} | {licence} | {n:,} | {kept:,} |" for (name, licence), (n, kept) in counts.items())
    limit = f"Crystals of more than {max_atoms} atoms were left out. " if max_atoms else ""
    state = "These weights are preliminary: a longer run improves them." if facts["epochs"] < EPOCHS else ""
    heads = heads_of(facts)
    held = f"Its stamp has {len(heads.names)} linear heads.\n" if heads else ""
    return f"""
## How it was made

Recipe `{RECIPE}`, {facts["epochs"]} epochs, {facts["steps"]:,} steps on {facts["n_crystals"]:,} crystals. {limit}
It was made by `python benchmarks/weights.py` at commit {facts["commit"]}. {state}

| source | licence | crystals | without duplicates |
|---|---|---|---|
{rows}

Matrices are rounded to half precision. {held}
## How good it is

These weights have seen the structures of most public tasks, though never a label of them. A fair error needs an encoder
that has not. The table has such twins: the same recipe for 10 epochs, on Materials Project without the tasks' formulas.
It shows the mean test error over five seeds, in the units of `benchmarks/README.md`.

{_twins(model)}
"""


def _twins(model: str) -> str:
    """Test errors of guarded encoders of the recipe, and of random weights, from the committed scores."""
    errors: dict[tuple[str, str, str], list[float]] = {}
    with SCORES.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["encoder"] == model and row["arm"] in ("scratch", RECIPE) and row["fold"] == "0":
                errors.setdefault((row["task"], row["n_labels"], row["arm"]), []).append(float(row["mae"]))
    lines = ["| task | labels | random weights | pretrained |", "|---|---|---|---|"]
    for (task, n, arm), found in sorted(errors.items(), key=lambda item: (item[0][0], len(item[0][1]), item[0][1])):
        if arm == "scratch" and (twin := errors.get((task, n, RECIPE))) and n != "all":
            lines.append(f"| {task} | {n} | {mean(found):.3g} | {mean(twin):.3g} |")
    return "\n".join(lines)


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="corpus and runs: some gigabytes")
    parser.add_argument("--models", nargs="+", default=["MEGNet", "M3GNet"], metavar="NAME")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="INT")
    parser.add_argument("--max-atoms", type=int, metavar="INT", help="leave out larger crystals")
    parser.add_argument("--dgl", action="store_true", help="convert MEGNet for the graph library of MatGL 2.2")
    options = parser.parse_args()
    if options.dgl:
        print(convert(f"MEGNet-{RECIPE}"))
        return
    for model in options.models:
        train(model, options.out, options.epochs, options.max_atoms)
        print(ship(model, options.out, options.epochs, options.max_atoms))


if __name__ == "__main__":
    main()
