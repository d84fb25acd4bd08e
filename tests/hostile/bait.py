"""What hostile files name: a module, calls, files and an address. All of them tell when somebody takes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

MODULE = "named_in_the_data"
URL = "http://127.0.0.1:9/bait"
"""Nobody listens at this port of this machine."""
MODULES = (MODULE, "antigravity", "this", "unittest.__main__")
"""Modules that nothing here imports but what hostile files name."""
PAYLOADS = {
    "class": {"@module": MODULE, "@class": "Thing"},
    "callable": {"@module": MODULE, "@callable": "run", "@bound": None},
    "enum": {"@module": MODULE, "@class": "Thing", "value": 1},
    "init": {"@module": MODULE, "@class": "Thing", "@version": "1", "x": {"@module": MODULE, "@class": "Thing"}},
    "ase": {"__ase_objtype__": "bandpath", "@module": MODULE, "cell": [[1, 0, 0]] * 3},
    "pickled": {"py/object": f"{MODULE}.Thing", "py/reduce": [{"py/function": f"{MODULE}.run"}, {"py/tuple": []}]},
    "of Python": {"@module": "antigravity", "@class": "Thing"},
    "main": {"@module": "unittest.__main__", "@class": "main", "__class__": "os.system"},
}
"""Mappings that some library makes objects of."""


class Call:
    """Pickled, it is a call: whoever unpickles it calls."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


EXECUTED = "hostile.executed"
"""The audit event that the bait raises."""
_TELL = f"import sys; sys.audit({EXECUTED!r}, __name__)"
CALLS = {
    "exec": Call(exec, _TELL), "eval": Call(eval, f"__import__('sys').audit({EXECUTED!r}, '')"),
    "system": Call(os.system, "true"), "import": Call(__import__, MODULE), "open": Call(open, "/etc/passwd"),
}  # fmt: skip


@dataclass(frozen=True)
class Bait:
    """Files that no hostile input may lead to, and the module that none may import.

    Attributes:
        folder: Where they lie.
    """

    folder: Path

    @property
    def secret(self) -> Path:
        """A structure in a folder of its own."""
        return self.folder / "secret.json"

    def lay(self) -> None:
        """Write them."""
        self.folder.mkdir(parents=True)
        (self.folder / f"{MODULE}.py").write_text(
            f"{_TELL}\ndef run(*args, **kwargs): {_TELL}\nclass Thing:\n    from_dict = classmethod(run)\n"
        )
        self.secret.write_text(json.dumps(salt().as_dict()))
        self.secret.with_suffix(".cif").write_text(salt().to(fmt="cif"))
        self.secret.with_suffix(".png").write_bytes(bytes(8))


def salt() -> Structure:
    """Rock salt."""
    return Structure(Lattice.cubic(4.2), ["Na", "Cl"], np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def _site(structure: Structure, payload: dict[str, Any]) -> dict[str, Any]:
    data = structure.as_dict()
    data["sites"][0] |= payload
    return data


def _species(structure: Structure, payload: dict[str, Any]) -> dict[str, Any]:
    data = structure.as_dict()
    data["sites"][0]["species"][0] |= payload
    return data


PLACES: dict[str, Callable[[Structure, dict[str, Any]], dict[str, Any]]] = {
    "site property": lambda s, p: _site(s, {"properties": {"p": p}}),
    "species": _species,
    "site": _site,
    "lattice": lambda s, p: s.as_dict() | {"lattice": s.as_dict()["lattice"] | p},
    "properties": lambda s, p: s.as_dict() | {"properties": {"p": p}},
    "top": lambda s, p: s.as_dict() | p,
    "matrix": lambda s, p: s.as_dict() | {"lattice": {"matrix": p}},
    "entry": lambda s, p: ComputedStructureEntry(s, -1.0).as_dict() | {"data": p, "parameters": {"p": p}},
}
"""Where a structure may hold them."""
