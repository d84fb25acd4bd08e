"""A plain MatGL model that says nearly what all learners say together: it learns from them (knowledge distillation).

Hinton, Vinyals and Dean (arXiv 1503.02531). What many learners say of crystals without labels teaches one network more
than the labels alone do, and MatGL loads that network where matgl_ssl is not installed.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matgl_ssl import __version__
from matgl_ssl._files import digest
from matgl_ssl._folders import atomic_folder
from matgl_ssl.acceleration import decelerate
from matgl_ssl.crystals import Crystal, CrystalDataset, check_structure
from matgl_ssl.hub import save_model
from matgl_ssl.hub.shipped import FOLDER
from matgl_ssl.targets.compute import structures_key
from matgl_ssl.training.data import read_source
from matgl_ssl.training.provenance import public_name

from .encoders import PretrainedEncoder
from .inputs import Inputs
from .learning import Learning
from .members import FineTuned, Lesson
from .members.finetuned import MODEL, FittedNetwork
from .predictor import TargetPredictor
from .similar import similar_crystals
from .store import unit_name

logger = logging.getLogger(__name__)

SHIPPED = FOLDER / "crystals.parquet"
"""Crystals of the Materials Project that come with the package (``benchmarks/unlabelled.py`` drew them)."""
_SHIPPED, _SIMILAR = 3000, 500
"""How many of these, and of crystals like the labelled ones, it learns from where there is time for them."""
_MINUTES = 15
"""The budget that is enough for all of them; with less there are fewer, in proportion."""
_MOST = 4000
"""Crystals of the user's own that it learns from; more take minutes."""
_HELD_OUT = 10
"""One formula of so many of theirs is kept to compare with."""


@dataclass(frozen=True)
class PlainModel:
    """A network in place of a combination.

    Attributes:
        path: A plain MatGL model.
        difference: Mean absolute difference to the combination on crystals without labels, of formulas that the
            network was not trained on, in the label's unit.
        n_similar: Crystals without labels that it was trained on.
    """

    path: Path
    difference: float
    n_similar: int


def plain_model(learning: Learning, together: TargetPredictor, encoder: PretrainedEncoder, path: Path) -> PlainModel:
    """Train a network on the labels, and on what a combination says of crystals without labels.

    Args:
        learning: What was learned; its labels and seed.
        together: The combination.
        encoder: What the network starts from.
        path: Directory of the model, to be made or replaced.

    Raises:
        MatGLSSLError: If it cannot be trained.
    """
    pool = _without_labels(learning, encoder)
    said_by = [
        [part["unit"] for part in member["parts"]] + [member["weight"]] for member in together.content["members"]
    ]
    facts = {
        "version": __version__, "labels": learning.labelled.fingerprint, "said by": said_by, "encoder": encoder.weights,
        "options": dict(learning.config.finetune), "seed": learning.config.seed,
        "without labels": structures_key(pool),
    }  # fmt: skip
    name = unit_name(f"plain model of {together.name}", facts)
    if (content := learning.units.get(name)) is None:
        network, content = _trained(learning, together, encoder, pool)
        content = learning.units.keep(name, content, lambda folder: _save(network, learning, folder))
    with atomic_folder(path) as partial:
        shutil.copytree(learning.units.verified(name, content["files"]) / MODEL, partial)
    return PlainModel(path, content["difference"], content["similar"])


def _without_labels(learning: Learning, encoder: PretrainedEncoder) -> CrystalDataset:
    """Crystals that the encoder can be given: the user's, or the package's and some made from the labelled ones."""
    config, elements, cutoff = learning.config, encoder.encoder.element_types, encoder.encoder.cutoff
    if config.unlabelled:
        given = read_source(config.unlabelled, columns=[])
        order = np.random.default_rng([config.seed, 0xF00]).permutation(len(given))
        some: Iterable[Crystal] = given.rows(np.sort(order[:_MOST]))
    else:
        share = min(config.budget / _MINUTES, 1)
        made = similar_crystals([*learning.labelled.crystals], int(share * _SIMILAR), elements, config.seed)
        some = [*read_source(str(SHIPPED), columns=[]).rows(range(int(share * _SHIPPED))), *made]
    return CrystalDataset.from_crystals(
        [crystal for crystal in some if not check_structure(crystal, element_types=elements, cutoff=cutoff)]
    )


def _trained(
    learning: Learning, together: TargetPredictor, encoder: PretrainedEncoder, pool: CrystalDataset
) -> tuple[FittedNetwork, dict[str, float]]:
    """The network, and how far it is from the combination."""
    labelled, config = learning.labelled, learning.config
    unlabelled = [dataclasses.replace(crystal, id=f"pool-{n}", labels={}) for n, crystal in enumerate(pool)]
    table = CrystalDataset.from_crystals([*labelled.crystals, *unlabelled])
    inputs = Inputs.of(table, learning.inputs.encoders, config.num_workers or 0)
    rows = np.arange(len(labelled), len(table))
    labels = np.full(len(table), np.nan)
    labels[: len(labelled)] = labelled.labels
    labels[rows] = together(inputs.take(rows)).values
    rows = rows[np.isfinite(labels[rows])]
    formulas = np.array(table.formulas(), dtype=object)
    held_out = np.array([int(digest([formula], 8), 16) % _HELD_OUT == 0 for formula in formulas])
    train = np.concatenate([np.arange(len(labelled)), rows[~held_out[rows]]])
    member = FineTuned.of(encoder, config.finetune, config.accelerator)
    logger.info("%s: training the plain MatGL model on %d crystals.", labelled.name, len(train))
    network = member.fit(Lesson(inputs.take(train), labels[train], None, formulas[train], 0, config.seed))
    unseen = rows[held_out[rows]]
    difference = np.abs(network.predict(inputs.take(unseen))[:, 0, 0] - labels[unseen]) if len(unseen) else [np.nan]
    return network, {"difference": float(np.mean(difference)), "similar": len(train) - len(labelled)}  # type: ignore[return-value]


def _save(network: FittedNetwork, learning: Learning, folder: Path) -> None:
    labelled = learning.labelled
    target = {"name": labelled.name, "unit": labelled.unit or None, "transform": None, "extensive": False}
    save_model(
        decelerate(network.model), folder / MODEL, kind="model", readout="trained", target=target,
        init_from=public_name(network.member.start), n_labels=len(labelled), learned_from="the combination of a fit",
    )  # fmt: skip
