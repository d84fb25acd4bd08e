"""POSCAR and CONTCAR: pymatgen's parser, and a doubt where it would make up the elements or drop atoms."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import chain, takewhile

import numpy as np
from pymatgen.core import Element

from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.records import DOUBT, Crystal
from matgl_ssl.errors import DataError

_NAMELESS = (
    "no-symbols: no element symbols in line 6 (VASP 4): nobody knows what its atoms are. Write the symbols in a line "
    "before the counts, for example: Na Cl"
)


def parse_poscar(document: Document) -> Iterator[Entry]:
    """The structure of a POSCAR or CONTCAR."""
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

    text = document.text()
    _refuse_contradictions([line.partition("#")[0].split() for line in text.splitlines()])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", BadPoscarWarning)
        structure = Poscar.from_str(text, default_names=None).structure
    if any("cannot be determined" in str(warning.message) for warning in said):  # pymatgen counts from hydrogen
        numbers = np.zeros(len(structure), dtype=np.int64)
        yield "", Crystal(numbers, structure.frac_coords, structure.lattice.matrix, labels={DOUBT: _NAMELESS}), {}
        return
    for warning in said:
        warnings.warn(warning.message, stacklevel=1)
    yield "", structure, {}


def _refuse_contradictions(lines: list[list[str]]) -> None:
    """Refuse symbols, counts and lines of coordinates that do not fit each other: pymatgen takes what it needs."""
    first = next((i for i, line in enumerate(lines) if i > 4 and line and line[0].isdigit()), len(lines))
    last = first + max(first - 5, 1)  # VASP writes as many lines of counts as of symbols
    if last >= len(lines) or not all(token.isdigit() for token in chain(*lines[first:last])):
        raise DataError("no line with the number of atoms of each element follows the lattice")
    symbols, counts = list(chain(*lines[5:first])), [int(token) for token in chain(*lines[first:last])]
    if symbols and len(symbols) != len(counts):
        raise DataError(f"{len(symbols)} symbols ({' '.join(symbols)}) for {len(counts)} numbers of atoms")
    selective = lines[last][:1] and lines[last][0][0] in "sS"
    rows = list(takewhile(lambda line: line and line[0][0] in "0123456789.+-", lines[last + 1 + bool(selective) :]))
    if len(rows) != sum(counts):
        raise DataError(f"{sum(counts)} atoms are announced, and {len(rows)} lines of coordinates follow")
    expected = chain(*([re.split("[/_]", symbol)[0]] * n for symbol, n in zip(symbols, counts, strict=False)))
    for symbol, row in zip(expected, rows, strict=False):
        named = row[6 if selective else 3 :][:1]
        if named and named[0] not in ("T", "F", symbol) and Element.is_valid_symbol(named[0]):
            raise DataError(f"an atom is {symbol} by line 6, and {named[0]} by its own line: {' '.join(row)}")
