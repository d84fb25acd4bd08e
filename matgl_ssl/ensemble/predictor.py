"""What a fit leaves, loaded: what its members say together of other crystals, how sure it is, and where it is not."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from matgl_ssl._files import atomic_path, file_digest
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ModelError
from matgl_ssl.formats import signed, verified

from .calibrate import Calibration
from .combination import Combination
from .combine import combined, spread
from .encoders import PretrainedEncoder
from .inputs import Inputs
from .learning import ALL, Learning
from .members import KINDS, Fitted, Member
from .novelty import Neighbourhood
from .shown import reliability
from .store import Units, slug, verified_folder
from .transforms import Transform

MANIFEST = "ensemble.json"
UNITS = "units"
ENCODERS = "encoders"


@dataclass(frozen=True, eq=False)
class Said:
    """What is predicted of crystals.

    Attributes:
        values: The value of each, ``(n,)``, or the probability of each class, ``(n, classes)``.
        lower: Lower end of the interval, ``(n,)``; NaN for classes.
        upper: Upper end.
        std: Standard deviation of the error to be expected, ``(n,)``.
        flags: Why a crystal is unlike the labelled ones; empty if it is like them.
    """

    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    std: np.ndarray
    flags: list[str]


class TargetPredictor:
    """Predicts one target.

    Args:
        content: What the manifest says of it.
        root: The fit's directory.
    """

    def __init__(self, content: Mapping[str, Any], root: Path) -> None:
        self.content, self.root = content, root
        self.name, self.unit = str(content["name"]), str(content["unit"])
        self.classes = tuple(content["classes"])
        self.confidence = float(content["confidence"])
        self._labels, self._folds = np.array(content["labels"]), np.array(content["folds"])

    def __call__(self, inputs: Inputs) -> Said:
        """Predict crystals."""
        values = np.stack([self.said(member, inputs) for member in self.counting])
        weights = np.array([member["weight"] for member in self.counting])
        together = combined(values, weights)
        distances = self.neighbourhood.distances(self.numbers(inputs))
        elements = [crystal.numbers for crystal in inputs.crystals.rows(inputs.rows)]
        flags = [self.neighbourhood.flag(d, z) for d, z in zip(distances, elements, strict=True)]
        if self.classes:
            nothing = np.full(len(inputs), np.nan)
            return Said(together, nothing, nothing, nothing, flags)
        value = together[:, 0]
        half, std = self._calibration.half_widths(value, spread(values, weights), distances, self.confidence)
        unseen = np.array([bool(self.neighbourhood.unseen(z)) for z in elements])
        wider = np.where(unseen, self.content["unseen_factor"], 1.0)
        low, high = self._limits
        ends = np.clip(value - half * wider, low, high), np.clip(value + half * wider, low, high)
        sizes = np.array([len(z) for z in elements]) if self.content["per_atom"] else 1
        return Said(value * sizes, ends[0] * sizes, ends[1] * sizes, std * wider * sizes, flags)

    @property
    def encoders(self) -> set[str]:
        """Names of the encoders that are needed."""
        fields = (member["fields"].get("encoder") for member in self.counting)
        return {name for name in (*fields, self.content["space"]) if name and name != "descriptors"}

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """The labelled crystals."""
        kept = self.content["neighbourhood"]
        path = verified_folder(self.root, {kept["file"]: kept["sha256"]}) / kept["file"]
        return Neighbourhood.from_dict(kept, np.load(io.BytesIO(path.read_bytes()), allow_pickle=False))

    @property
    def usual_error(self) -> float:
        """The middle of the errors of labelled crystals, out of fold; per atom for a sum over atoms."""
        return max(float(np.median(np.abs(self._calibration.residuals))), 1e-12)

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration.from_dict(self.content["calibration"])

    @property
    def counting(self) -> list[dict[str, Any]]:
        """What the manifest says of members that count."""
        return [member for member in self.content["members"] if member["weight"] > 0]

    @property
    def _limits(self) -> tuple[float, float]:
        low, high = self.content["bounds"]
        return -np.inf if low is None else low, np.inf if high is None else high

    def numbers(self, inputs: Inputs) -> np.ndarray:
        """What distances are measured in, ``(n, d)``."""
        space = self.content["space"]
        return inputs.descriptors if space == "descriptors" else inputs.vectors(space)

    def said(self, content: Mapping[str, Any], inputs: Inputs) -> np.ndarray:
        """What one of ``counting`` says, ``(n, k)``."""
        values = []
        for part, fitted in zip(content["parts"], self._fitted(content), strict=True):
            labels = self._labels if part["fold"] == ALL else self._labels[self._folds != part["fold"]]
            transform = Transform.fit(content["transform"], labels, tuple(self.content["bounds"]))
            said = fitted.predict(inputs)[:, content["centre"]]
            values.append(said if self.classes else np.clip(transform.back(said), *self._limits))
        return np.mean(values, 0)

    def _fitted(self, content: Mapping[str, Any]) -> list[Fitted]:
        known = self.__dict__.setdefault("_loaded", {})
        if content["name"] not in known:
            member, units = self._member(content), Units(self.root / UNITS)
            folders = [units.verified(part["unit"], part["files"]) for part in content["parts"]]
            known[content["name"]] = [member.load(folder, len(self.classes)) for folder in folders]
        return known[content["name"]]

    def _member(self, content: Mapping[str, Any]) -> Member:
        if content["kind"] not in KINDS:
            raise ModelError(f"{self.root}: no such learner as {content['kind']!r} in this version of matgl_ssl.")
        return KINDS[content["kind"]](**content["fields"])


@dataclass(frozen=True, eq=False)
class Predictor:
    """All targets of a fit.

    Attributes:
        root: The fit's directory.
        targets: What predicts each.
        encoders: Encoders by name, with the hash of their files.
    """

    root: Path
    targets: tuple[TargetPredictor, ...]
    encoders: Mapping[str, str]

    @classmethod
    def load(cls, root: Path) -> Self:
        """Read a fit's directory.

        Raises:
            ModelError: If a file of it was changed, is missing, or is of a later version.
        """
        path = root / MANIFEST
        try:
            content = json.loads(path.read_bytes())
        except ValueError as err:
            raise ModelError(f"{path} is damaged ({err}). Put it back as it was, or fit again.") from err
        content = verified("ensemble", content, path)
        targets = tuple(TargetPredictor(each, root) for each in content["targets"])
        return cls(root, targets, content["encoders"])

    def inputs(self, crystals: CrystalDataset) -> Inputs:
        """Crystals as members see them."""
        needed = sorted({name for target in self.targets for name in target.encoders})
        return Inputs.of(crystals, {name: self._encoder(name) for name in needed})

    def _encoder(self, name: str) -> PretrainedEncoder:
        known = self.__dict__.setdefault("_known", {})
        if name not in known:
            folder = self.root / ENCODERS / slug(name)
            encoder = PretrainedEncoder.load(name, folder)
            if encoder.weights != self.encoders[name]:
                raise ModelError(f"{folder} is not the encoder that was fitted with. Put it back, or fit again.")
            known[name] = encoder
        return known[name]


def is_fit(source: Any) -> bool:
    """Whether this is the directory of a fit."""
    return isinstance(source, str | Path) and (Path(source) / MANIFEST).is_file()


def described(learning: Learning, combination: Combination, unseen_factor: float, root: Path) -> dict[str, Any]:
    """What the manifest says of a target; the labelled crystals are written beside it."""
    labelled, config = learning.labelled, learning.config
    file = f"neighbourhood-{slug(labelled.name)}-{labelled.fingerprint[:12]}.npy"
    with atomic_path(root / file) as temporary, temporary.open("wb") as stream:
        np.save(stream, combination.neighbourhood.points, allow_pickle=False)
    kept = {**combination.neighbourhood.to_dict(), "file": file, "sha256": file_digest(root / file)}
    members = [
        {
            "name": learned.member.name, "kind": learned.member.kind, "fields": _fields(learned.member),
            "transform": learned.transform, "centre": learned.centre, "weight": float(weight),
            "error": learned.error, "seconds": learned.seconds, "parts": [vars(part) for part in learned.parts],
        }
        for learned, weight in zip(combination.members, combination.weights, strict=True)
    ]  # fmt: skip
    return {
        "name": labelled.name, "unit": labelled.unit, "classes": labelled.classes, "per_atom": config.per_atom,
        "bounds": learning.bounds, "confidence": config.coverage, "loss": learning.loss,
        "labels": labelled.labels.tolist(), "folds": learning.folds.tolist(), "members": members,
        "error": combination.error, "space": combination.space, "neighbourhood": kept, "unseen_factor": unseen_factor,
        "calibration": None if combination.calibration is None else combination.calibration.to_dict(),
        "reliability": reliability(combination.calibration, learning.folds),
    }  # fmt: skip


def manifest(targets: list[dict[str, Any]], encoders: Mapping[str, PretrainedEncoder]) -> str:
    """The text of the manifest."""
    content = {"targets": targets, "encoders": {name: encoder.weights for name, encoder in encoders.items()}}
    return json.dumps(signed("ensemble", content))


def _fields(member: Member) -> dict[str, Any]:
    return {name: value for name, value in vars(member).items() if name not in ("start", "accelerator")}
