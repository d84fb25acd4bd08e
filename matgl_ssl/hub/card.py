"""The model card: what a model's stamp says, in words, for people and for the hub's search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

PLACEHOLDER = "THIS_MODEL"
"""Where the card's code names the model; ``push`` puts the name on the hub there."""

_INTENDED = {
    "encoder": "To start fine-tuning from, and to make vectors of crystals or atoms. Its own output means nothing.",
    "potential": "Energies, forces and stresses of periodic crystals, in ASE or whatever runs MatGL's models.",
    "model": "To predict the property for periodic crystals like those that it was trained on.",
}
_CODE = {
    "encoder": """\
from matgl_ssl import StructureFeaturizer
featurizer = StructureFeaturizer(model="{model}").fit()
vectors = featurizer.transform("POSCAR")""",
    "potential": """\
from matgl.ext.ase import PESCalculator
from matgl_ssl import load_model
calculator = PESCalculator(load_model("{model}"), stress_unit="eV/A3")""",
    "model": """\
import matgl_ssl
for prediction in matgl_ssl.predict(model="{model}", data="POSCAR"):
    print(prediction)""",
}
_NO_LICENCE = "not recorded: ask its source"
_WHERE = f"`{PLACEHOLDER}` stands for the folder of this file.\n"

_CITE = """\
Please cite MatGL ([its paper](https://doi.org/10.1038/s41524-025-01742-y)), the source of the
training data, and the papers that matgl_ssl names beside the recipe."""


def model_card(stamp: Mapping[str, Any]) -> str:
    """The text of a ``README.md``, with the hub's metadata.

    Args:
        stamp: What a model's files say of it (``read_stamp``).
    """
    kind = stamp.get("kind", "model")
    parts = [
        f"---\n{_metadata(stamp).to_yaml()}\n---\n",
        f"# {_title(stamp)}\n",
        f"{_INTENDED[kind]}\n",
        f"```python\n{_CODE[kind].format(model=PLACEHOLDER)}\n```\n",
        _WHERE,
        "| | |\n|---|---|",
        *(f"| {name} | {value} |" for name, value in _facts(stamp)),
        "\n## Limits\n",
        *(f"- {limit}" for limit in _limits(stamp)),
        f"\n## How to cite\n\n{_CITE}\n",
    ]
    return "\n".join(parts)


def published(card: str, name: str, license: str | None = None, data_license: str | None = None) -> str:
    """The card of a model that has got a name on the hub, and what only its owner knows.

    Args:
        card: Its text so far.
        name: ``OWNER/NAME``.
        license: The model's licence.
        data_license: That of the data it was trained on.
    """
    card = card.replace(_WHERE, "").replace(PLACEHOLDER, name).replace(_NO_LICENCE, data_license or _NO_LICENCE)
    if license:
        edited = ModelCard(card, ignore_metadata_errors=True)
        edited.data["license"] = license
        return str(edited)
    return card


def _title(stamp: Mapping[str, Any]) -> str:
    architecture = stamp.get("architecture", "MatGL model")
    if target := stamp.get("target"):
        return f"{architecture} for {target['name']} of crystals"
    return f"{architecture} {stamp.get('kind', 'model')} for crystals"


def _metadata(stamp: Mapping[str, Any]) -> ModelCardData:
    metrics, target, data = stamp.get("metrics"), stamp.get("target"), stamp.get("data", {})
    results = None
    if metrics and target:
        source = data.get("source", "unknown")
        results = [
            EvalResult(
                task_type="graph-ml", dataset_type=source, dataset_name=source, metric_type="mae",
                metric_value=metrics["mae"], dataset_split=metrics["part"],
                metric_name=f"MAE of {target['name']} ({target['unit'] or 'no unit given'})",
            )
        ]  # fmt: skip
    tags = ["materials-science", "chemistry", "crystals", "graph-neural-network", "matgl_ssl"]
    return ModelCardData(
        library_name="matgl", pipeline_tag="graph-ml", tags=[*tags, stamp.get("kind", "model")],
        datasets=[data["source"].split(":")[0]] if data.get("on_hub") else None,
        model_name=_title(stamp) if results else None, eval_results=results,
    )  # fmt: skip


def _facts(stamp: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows of the table: what is said, and what of it."""
    if target := stamp.get("target"):
        logarithm = ", trained on its logarithm to base 10" if target.get("transform") else ""
        yield "Predicts", f"{target['name']} in {target['unit'] or '(no unit given)'}{logarithm}"
    elif stamp.get("kind") == "potential":
        yield "Predicts", f"energy in {stamp.get('unit', 'eV')}, forces and stresses"
    elif "recipe" in stamp:
        yield "Pretrained by", f"recipe {stamp['recipe']}: {', '.join(stamp['pretexts'])}"
    if metrics := stamp.get("metrics"):
        low, high = metrics["mae_interval"] or (None, None)
        interval = "" if low is None else f" (95 % interval {low:.3g} to {high:.3g})"
        yield "Mean absolute error", f"{metrics['mae']:.3g}{interval} on {metrics['n']} crystals ({metrics['part']})"
        yield "Error of predicting the mean", f"{metrics['mad']:.3g}"
    data = stamp.get("data", {})
    n = stamp.get("n_labels", stamp.get("n_crystals"))
    yield "Trained on", f"{n if n else 'unknown number of'} crystals of {data.get('source', 'an unknown source')}"
    yield "Fingerprint of the training data", f"`{data.get('fingerprint', 'unknown')[:16]}`"
    yield "Licence of the training data", data.get("license", _NO_LICENCE)
    if stamp.get("init_from"):
        yield "Started from", str(stamp["init_from"])
    yield "Elements seen in training", " ".join(stamp.get("elements") or ["not recorded"])
    if "cutoff" in stamp:
        yield "Architecture", f"{stamp['architecture']}, cutoff {stamp['cutoff']:g} Å"
    versions, library = stamp["versions"], {"pyg": "PyTorch Geometric", "dgl": "DGL"}[stamp["graph_library"]]
    yield "Made with", f"matgl_ssl {versions['matgl_ssl']}, MatGL {versions['matgl']} on {library}"
    yield "Digest", f"`{stamp.get('digest', 'none')}`"


def _limits(stamp: Mapping[str, Any]) -> Iterator[str]:
    """Sentences."""
    yield "Crystals must be periodic in three directions and fully ordered."
    yield "Elements that training never saw have random embeddings: what is computed for them means nothing."
    if stamp.get("kind") == "encoder":
        yield "The readout is not trained on labels."
    if stamp.get("metrics"):
        yield "The error was measured on crystals of the same source. On other kinds of crystals it may be larger."
    elif stamp.get("kind") == "model":
        yield "No crystals were held out, so nobody knows how large its errors are."
    if stamp.get("kind") == "potential" and stamp.get("unit") != "eV":
        yield "It was trained on no energies: its energies have a unit of their own, and only differences of it matter."
    if "node_embedding_from" in stamp:
        yield "It needs matgl_ssl beside MatGL: its node embedding takes in a frozen encoder's vectors."
    if stamp["graph_library"] == "dgl":
        yield "It belongs to MatGL 2 (DGL). Later versions of MatGL load it and mispredict; matgl_ssl refuses it there."
    else:
        yield "It belongs to MatGL 3 or later (PyTorch Geometric). MatGL 2 (DGL) loads it and mispredicts."
