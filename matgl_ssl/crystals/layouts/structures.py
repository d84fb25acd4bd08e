"""Structure files: CIF and POSCAR."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

from pymatgen.core import Structure

from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.entries import Entry


def parse_cif(document: Document) -> Iterator[Entry]:
    """The structures of a CIF, in the cell the file describes."""
    from pymatgen.io.cif import CifFile, CifParser

    text = document.text()
    with warnings.catch_warnings():  # pymatgen warns of every rounded coordinate
        warnings.simplefilter("ignore")
        parser = CifParser(io.StringIO(text))
        with_atoms = [
            name for name, block in parser.as_dict().items() if any(k.startswith("_atom_site_") for k in block)
        ]
        found: list[Structure | Exception] = [*parser.parse_structures(primitive=False)]
        if len(found) < len(with_atoms):  # pymatgen leaves out the blocks that it cannot read, and warns
            blocks = CifFile.from_str(text).data
            found = [_of_block(blocks[name]) for name in with_atoms]
    for index, structure in enumerate(found):
        yield (str(index) if len(found) > 1 else ""), structure, {}


def _of_block(block: Any) -> Structure | Exception:
    from pymatgen.io.cif import CifParser

    try:
        return CifParser(io.StringIO(str(block))).parse_structures(primitive=False, on_error="raise")[0]
    except Exception as err:  # whatever pymatgen raises
        return err


def parse_poscar(document: Document) -> Iterator[Entry]:
    """The structure of a POSCAR or CONTCAR."""
    from pymatgen.io.vasp.inputs import Poscar

    yield "", Poscar.from_str(document.text(), default_names=None).structure, {}
