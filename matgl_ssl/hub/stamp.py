"""The stamp: what an export says of itself, so that nobody mispredicts with it silently.

MatGL's files do not record the graph library. A bare M3GNet or MEGNet saved by MatGL 2.2 and by 4.1 has the same
``model.json`` and the same keys, but 3.0 turned the messages round: each loads on the other side and predicts nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from matgl_ssl._backend import BACKEND, MATGL_VERSION, Backend
from matgl_ssl._version import __version__
from matgl_ssl.backends import collate
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.encoders import GraphBuilder, architecture_of, bare_model
from matgl_ssl.errors import BackendError, ModelError
from matgl_ssl.formats import header, upgrade

from .files import KEY, ModelFiles
from .output import evaluating, model_output

VECTOR = "crystal vector"
"""The stamp's ``readout`` where pretraining trained what makes its crystal vector, and not what follows that."""
OUTPUT = "output"
"""Where pretraining trained the model's own output, by its derivatives: all of the readout."""

_FIRST_SIGNED = 3
"""The first format of a stamp that has a digest."""

_PREFERRED = ("Na", "Cl", "Si", "O", "Ti", "Sr", "Cu", "Al", "C")


def reference_crystals(element_types: tuple[str, ...]) -> list[Crystal]:
    """Small crystals: rock salt, fcc and perovskite of elements a model knows, and each of these elements as fcc.

    The stamp names them, and does not hold them: another crystal has another id.
    """
    from pymatgen.core import Element

    known = [e for e in _PREFERRED if e in element_types] or list(element_types)
    z = [Element(known[i % len(known)]).Z for i in range(3)]
    half, origin = [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]
    fcc = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    perovskite = [origin, half, [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    return [
        Crystal(np.array(z[:2]), np.array([origin, half]), 5.6 * fcc, id="rock salt"),
        Crystal(np.array(z[:1]), np.array([origin]), 4.1 * fcc, id="fcc"),
        Crystal(np.array([z[0], z[1], *[z[2]] * 3]), np.array(perovskite), 3.9 * np.eye(3), id="perovskite"),
        *(Crystal(np.array([Element(e).Z]), np.array([origin]), 4.1 * fcc, id=f"fcc {e}") for e in element_types),
    ]


def predict_references(model: nn.Module, crystals: list[Crystal]) -> list[float]:
    """What a model says of crystals, in eval mode and without leaving a trace."""
    bare = bare_model(model)
    build = GraphBuilder(tuple(bare.element_types), bare.cutoff)
    labelled = architecture_of(bare).state_labels(bare)
    state = torch.zeros(len(crystals), dtype=torch.long) if labelled else None
    with evaluating(model):
        return model_output(model, collate([build(c) for c in crystals]), state).tolist()


def make_stamp(model: nn.Module, **facts: Any) -> dict[str, Any]:
    """The metadata of an export.

    Args:
        model: The model about to be saved.
        **facts: What else to say: ``kind``, ``readout``, ``target``, ``unit``, ...
    """
    bare = bare_model(model)
    crystals = reference_crystals(tuple(bare.element_types))
    references = dict(zip([c.id for c in crystals], predict_references(model, crystals), strict=True))
    versions = {"matgl_ssl": __version__, "matgl": MATGL_VERSION, "torch": torch.__version__.split("+")[0]}
    own = {"architecture": architecture_of(bare).name, "cutoff": float(bare.cutoff), "graph_library": BACKEND}
    return {KEY: {**header("stamp"), **facts, **own, "versions": versions, "references": references}}


def sign(folder: Path) -> None:
    """Write the digest of a stamped model's files into its stamp."""
    files = ModelFiles.read(folder)
    files.description["metadata"][KEY]["digest"] = files.digest()
    (folder / "model.json").write_text(json.dumps(files.description, indent=4), encoding="utf-8")


def stamp_of(model_json: Mapping[str, Any]) -> dict[str, Any]:
    """The stamp in a ``model.json``; empty for a foreign file.

    Raises:
        ModelError: If there is a stamp that lacks what every stamp has.
    """
    metadata = model_json.get("metadata")
    stamp = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    if stamp is None:
        return {}
    try:
        signed = isinstance(stamp.get("digest"), str) or stamp.get("format", 1) < _FIRST_SIGNED
        stamp = upgrade("stamp", stamp, "The stamp in model.json")
        whole = signed and stamp["graph_library"] in ("pyg", "dgl") and str(stamp["versions"]["matgl"])
        whole = whole and stamp["references"] and all(isinstance(v, float) for v in stamp["references"].values())
    except (KeyError, TypeError, AttributeError, ValueError) as err:
        if isinstance(err, ModelError):
            raise
        whole = False
    if not whole:
        raise ModelError(
            f"The matgl_ssl stamp in model.json (metadata/{KEY}) is damaged. Export the model again, or remove the "
            "stamp and declare the graph library with --trained-with."
        )
    return dict(stamp)


def check_backend(name: str, model_json: Mapping[str, Any], trained_with: str | None) -> None:
    """Refuse a model of the other backend before it is loaded.

    A stamp decides. Without one, signs of the writer do: MatGL 3.0 dropped ``graph_transformations``, and since 4.0
    ``compile_model`` is among the arguments of a ``Potential``. Otherwise somebody who knows must say ``trained_with``.

    Raises:
        BackendError: If the model belongs to the other graph library, or nobody can tell.
        ModelError: If the stamp is damaged.
    """
    stamp = stamp_of(model_json)
    said = (
        (stamp["graph_library"], f"its stamp says MatGL {stamp['versions']['matgl']}") if stamp else _signs(model_json)
    )
    if said:
        library, sign = said
        _refuse_other(name, library, sign)
        if trained_with not in (None, library):
            raise BackendError(
                f"{name} was declared as trained with {trained_with}, but {sign}: it is a {library} model."
            )
        return
    if BACKEND == "pyg" and _is_old_potential(model_json):
        raise BackendError(
            f"{name} is a Potential written before MatGL 4.0 (its arguments lack compile_model), most likely on DGL, "
            f"and MatGL {MATGL_VERSION} would load it silently and mispredict. Use it in an environment with "
            "pip install 'matgl_ssl[dgl]' (MatGL 2.2, Python <= 3.11) and --trained-with dgl."
        )
    if trained_with is None:
        raise BackendError(
            f"{name} carries no matgl_ssl stamp, so its graph library is unknown: MatGL on DGL and on PyG write the "
            "same files, and a model loads in the wrong one without an error and predicts wrong values. Give "
            "--trained-with pyg (MatGL 3.0 or later on PyG) or --trained-with dgl (before 3.0)."
        )
    _refuse_other(name, trained_with, "it was declared so")


def _signs(model_json: Mapping[str, Any]) -> tuple[Backend, str] | None:
    """The graph library that a foreign file gives away, and by what."""
    arguments = model_json.get("kwargs")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    nested = arguments.get("model")
    nested = nested if isinstance(nested, Mapping) else {}
    for module in (str(model_json.get("@module")), str(nested.get("@module"))):
        if "dgl" in module:
            return "dgl", f"its module is {module}"
    inner = nested.get("init_args")
    if any(isinstance(a, Mapping) and "graph_transformations" in a for a in (arguments, inner)):
        return "dgl", "its arguments hold graph_transformations, which MatGL dropped in 3.0"
    if model_json.get("@class") == "Potential" and "compile_model" in arguments:
        return "pyg", "its arguments hold compile_model, which MatGL writes since 4.0"
    return None


def _is_old_potential(model_json: Mapping[str, Any]) -> bool:
    # MatGL 3.0 (PyG) left no sign either, so in the DGL backend this admits nothing: there it must be declared.
    arguments = model_json.get("kwargs")
    return model_json.get("@class") == "Potential" and "compile_model" not in (arguments or {})


def _refuse_other(name: str, library: str, reason: str) -> None:
    if library == BACKEND:
        return
    install = "pip install 'matgl_ssl[dgl]' (MatGL 2.2, Python <= 3.11)" if library == "dgl" else "MatGL >= 4.1"
    raise BackendError(
        f"{name} was trained with {library.upper()} ({reason}), and this environment runs MatGL {MATGL_VERSION} on "
        f"{BACKEND.upper()}, where it would load silently and mispredict. Use it in an environment with {install}."
    )


def check_digest(name: str, files: ModelFiles, stamp: Mapping[str, Any]) -> None:
    """Refuse a stamped model whose files are not, bit for bit, those that were saved.

    Raises:
        ModelError: If weights, architecture or stamp are others.
    """
    if "digest" in stamp and stamp["digest"] != files.digest():
        raise ModelError(
            f"{name} is not what was saved: the files in {files.folder} are incomplete or were changed (their digest "
            "is not the one in the stamp). Fetch or export the model again."
        )


def check_references(name: str, model: nn.Module, stamp: Mapping[str, Any]) -> None:
    """Refuse a stamped model that does not predict what it predicted when it was saved.

    Raises:
        ModelError: If a reference prediction differs by more than float32 noise.
    """
    if not stamp:
        return
    references = stamp["references"]
    known = {crystal.id: crystal for crystal in reference_crystals(tuple(bare_model(model).element_types))}
    if others := references.keys() - known.keys():
        raise ModelError(f"{name}: its stamp lists {', '.join(sorted(others))}, which it does not know.")
    expected = np.array(list(references.values()))
    got = np.array(predict_references(model, [known[id_] for id_ in references]))
    scale = max(float(np.abs(expected).max()), 1e-3)
    differ = ~np.isclose(got, expected, rtol=0, atol=1e-4 * scale, equal_nan=True)
    if differ.any():
        i = int(differ.argmax())
        raise ModelError(
            f"{name} does not predict what it predicted when it was saved: {list(references)[i]} {expected[i]:.6g} "
            f"then, {got[i]:.6g} now. The files were changed, or this MatGL ({MATGL_VERSION}) computes it differently "
            f"from the one that saved it ({stamp['versions']['matgl']})."
        )
