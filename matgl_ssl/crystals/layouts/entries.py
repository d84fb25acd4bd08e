"""What every layout yields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from matgl_ssl.crystals.records import Crystal

if TYPE_CHECKING:
    from ase import Atoms

Entry = tuple[str, "Crystal | Structure | Atoms | Exception", dict[str, Any]]
