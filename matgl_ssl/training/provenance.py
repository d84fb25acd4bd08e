"""What an export says, for others, of how it came to be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Element
from torch import nn

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.composition import elements_of
from matgl_ssl.crystals.prepared import is_prepared, read_manifest
from matgl_ssl.encoders import ARCHITECTURES
from matgl_ssl.hub import read_stamp
from matgl_ssl.hub.remote import split_name

if TYPE_CHECKING:
    from .trainer import Task


def provenance(task: Task) -> dict[str, Any]:
    """The data that was trained on, and the elements in it."""
    source = task.config.data
    on_hub = not Path(source).exists() and split_name(source.split(":")[0]) is not None
    data = {"source": public_name(source), "on_hub": on_hub, "fingerprint": task.facts["data"]}
    if is_prepared(Path(source)) and (licences := sorted(_licences(read_manifest(Path(source))["sources"]))):
        data["license"] = ", ".join(licences)
    return {"data": data, "elements": task.elements}


def _licences(sources: list[dict[str, Any]]) -> set[str]:
    """Of a prepared folder's sources, and of theirs where those were prepared, too."""
    own = {source["license"] for source in sources if source["license"]}
    return own.union(*(_licences(source.get("sources", [])) for source in sources))


def public_name(source: str) -> str:
    """A name on the hub as it is, and of a place on somebody's disk only the end."""
    return "/".join(Path(source).absolute().parts[-2:]) if Path(source).exists() else source


def trained_elements(crystals: CrystalDataset, start: Any = None) -> list[str] | None:
    """Symbols of the elements that a model has seen when it was trained on crystals.

    Args:
        crystals: What it is trained on.
        start: What its weights came from, which saw elements before: a name, or None for random weights.

    Returns:
        By atomic number; None if nobody knows what ``start`` saw: a model in memory, or one without this in its stamp.
    """
    seen = elements_of(crystals)
    if start is None or start in ARCHITECTURES:
        return seen
    stamp = {} if isinstance(start, nn.Module) else read_stamp(start, prefer=("encoder", "model", "potential"))
    before = stamp.get("elements")
    return None if before is None else sorted({*seen, *before}, key=lambda symbol: Element(symbol).Z)
