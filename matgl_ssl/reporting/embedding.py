"""A map of crystals: what the network sees as alike lies close together."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from .blocks import Map, Section, plain

logger = logging.getLogger(__name__)

_FEWEST = 20
"""Crystals below which UMAP has no neighbourhoods to look at."""
_CATEGORIES = {"family": "kind of compound", "crystal_system": "crystal system", "part": "used for"}
_NUMBERS = {
    "label": "label", "prediction": "prediction", "n_atoms": "atoms in the cell", "n_elements": "elements",
    "volume_per_atom": "volume per atom (Å³)",
}  # fmt: skip


def embedding(crystals: pd.DataFrame | None, vectors_are: str, unit: str = "") -> Section | None:
    """The map of those crystals that have vectors; None for fewer than three.

    Args:
        crystals: As ``read_kept`` gives them.
        vectors_are: What the vectors are, for the text.
        unit: Unit of the label.
    """
    if crystals is None:
        return None
    shown = crystals[crystals["vector"].notna()].reset_index(drop=True)
    if len(shown) < 3:
        return None
    vectors = np.nan_to_num(np.stack(shown["vector"].to_list()).astype(float))
    pca = PCA(n_components=2, random_state=0).fit(vectors)
    share = float(np.nan_to_num(pca.explained_variance_ratio_).sum())
    places = {"PCA": pca.transform(vectors), **_umap(vectors)}
    points = {
        "places": {name: {"x": _short(xy[:, 0]), "y": _short(xy[:, 1])} for name, xy in places.items()},
        "colourings": _colourings(shown, unit),
        "text": [_hover(row, unit) for row in shown.to_dict("records")],
    }
    text = (
        f"Each of the {len(shown):,} points is a crystal. Those that lie close together have like vectors: "
        f"{vectors_are}. PCA shows {share:.0%} of what the vectors differ by."
    )
    how = "Choose what the colours mean above the map. A kind of compound is named by its most electronegative element."
    return Section("Map of the crystals", text, [Map("", points, how)])


def _umap(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """UMAP's places, where it is installed."""
    if len(vectors) < _FEWEST or not has_umap():
        return {}
    import umap

    logger.info("Drawing the map of %d crystals by UMAP.", len(vectors))
    return {"UMAP": umap.UMAP(random_state=0, n_jobs=1).fit_transform(vectors)}


def has_umap() -> bool:
    """Whether umap-learn is installed: another package of the index is called umap, too."""
    try:
        return bool(version("umap-learn"))
    except PackageNotFoundError:
        return False


def _colourings(shown: pd.DataFrame, unit: str) -> list[dict[str, Any]]:
    """What points can be coloured by, the most telling first."""
    shown = shown.assign(n_elements=[len(each.split()) for each in shown["elements"]])
    found: list[dict[str, Any]] = []
    for column, name in _CATEGORIES.items():
        counts = shown[column].value_counts()
        if len(counts) > 1:
            codes = shown[column].map({value: i for i, value in enumerate(counts.index)})
            names = [plain(f"{value} ({n})") for value, n in counts.items()]
            found.append({"name": name, "categories": names, "values": codes.astype(int).tolist()})
    if {"label", "prediction"} <= set(shown):
        shown = shown.assign(error=(shown["prediction"] - shown["label"]).abs())
    for column, name in {**_NUMBERS, "error": "absolute error"}.items():
        if column in shown and (known := shown[column].astype(float)).max() > known.min():
            low, high = np.nanquantile(known, [0.02, 0.98])
            says = f"{name} ({unit})" if unit and column in ("label", "prediction", "error") else name
            values = [None if np.isnan(v) else float(f"{v:.4g}") for v in known]
            found.append({"name": says, "values": values, "low": float(low), "high": float(high)})
    return found


def _hover(row: dict[str, Any], unit: str) -> str:
    lines = [f"<b>{plain(row['formula'])}</b>", plain(row["id"]), plain(row["crystal_system"])]
    lines += [f"{name} {row[name]:.4g} {plain(unit)}" for name in ("label", "prediction") if pd.notna(row.get(name))]
    return "<br>".join(lines)


def _short(values: np.ndarray) -> list[float]:
    scale = max(float(np.abs(values).max()), 1e-300)
    return [float(f"{value / scale:.4f}") for value in values]
