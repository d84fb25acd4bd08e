"""CIF: pymatgen's parser, and doubts where it would continue with a guess."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Composition, Element, Structure, SymmOp

from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.records import ALMOST, DOUBT
from matgl_ssl.errors import BadStructureError, DataError

if TYPE_CHECKING:
    from pymatgen.io.cif import CifBlock

_UNSET = (".", "?")
_KEPT = ("_cell_", "_symmetry", "_space_group", "_magnetic", "_atom_site", "_atom_type", "_chemical_formula_sum")
_CELL = [f"_cell_length_{axis}" for axis in "abc"] + [f"_cell_angle_{name}" for name in ("alpha", "beta", "gamma")]
_SYSTEM = ("_symmetry_cell_setting", "_space_group_crystal_system")
_COORDINATES = [f"_atom_site_fract_{axis}" for axis in "xyz"]
_ROUNDED = 2e-3
"""Images of an atom that differ by less, in fractions of the cell, are one: 0.333 for 1/3 puts it beside itself."""
_LABEL, _SYMBOL, _OCCUPANCY = "_atom_site_label", "_atom_site_type_symbol", "_atom_site_occupancy"
_OPERATIONS = re.compile("_(symmetry_equiv_pos_as|space_group_symop_operation)_xyz_?")
_GROUP = re.compile(r"_(symmetry|space_group)_.*(name|number).*", re.IGNORECASE)

Data = dict[str, Any]


def parse_cif(document: Document) -> Iterator[Entry]:
    """The structures of a CIF, in the cell the file describes."""
    from pymatgen.io.cif import CifFile

    number = count()  # of blocks that have one name, pymatgen keeps the last
    text = re.sub(r"^\s*data_", lambda found: f"{found.group()}{next(number)}_", document.text(), flags=re.MULTILINE)
    blocks = list(CifFile.from_str(text).data.values())
    with_atoms = [block for block in blocks if any(key.startswith("_atom_site_") for key in block.data)]
    if not with_atoms:
        mm = any(key.startswith("_atom_site.") for block in blocks for key in block.data)
        raise DataError("has mmCIF's names (_atom_site.…): convert it to core CIF" if mm else "no atoms (_atom_site_…)")
    for index, block in enumerate(with_atoms):
        try:
            found: Structure | Exception = _structure(block)
        except Exception as err:  # whatever pymatgen raises
            found = err
        yield (str(index) if len(with_atoms) > 1 else ""), found, {}


def _structure(block: CifBlock) -> Structure:
    from pymatgen.io.cif import CifBlock, CifParser

    data, sites = _sites(block)
    _refuse_guesses(sites)
    _refuse_other_operations(data)
    _set_occupancies(sites)
    loops = [[key for key in loop if key in data] for loop in block.loops]
    text = str(CifBlock(data | sites, [loop for loop in (list(sites), *loops) if loop], block.header))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # all of them are in the parser's own list
            parser = CifParser.from_str(text, occupancy_tolerance=1 + ALMOST, site_tolerance=_ROUNDED, check_cif=False)
            structure = parser.parse_structures(primitive=False, on_error="raise")[0]
    except ValueError as err:
        reason = err.__cause__ or err  # without the number of the section
        raise DataError(f"lacks {reason}" if isinstance(reason, KeyError) else str(reason)) from err
    for remark in dict.fromkeys(parser.warnings):
        warnings.warn(remark, stacklevel=2)
    if doubt := _doubt(structure, data | sites, parser.warnings):
        structure.properties[DOUBT] = f"incomplete: {doubt}"
    return structure


def _sites(block: CifBlock) -> tuple[Data, Data]:
    """What a structure is made of, and apart from it the columns of its sites: a single site may stand without a loop.

    Raises:
        DataError: If the cell or the sites lack what every one has.
    """
    data = {key: value for key, value in block.data.items() if key.startswith(_KEPT)}
    missing = [key for key in (*_COORDINATES, *_CELL) if key not in data]
    if missing and not (missing[0] in _CELL and any(key in data for key in _SYSTEM)):
        raise DataError(f"lacks {', '.join(missing)}")
    loop = next((loop for loop in block.loops if _COORDINATES[0] in loop), None)
    keys = loop or [key for key in data if key.startswith("_atom_site_") and isinstance(data[key], str)]
    sites = {key: data.pop(key) if loop else [data.pop(key)] for key in keys if key in data}
    if not {_LABEL, _SYMBOL} & set(sites):
        raise DataError(f"lacks {_LABEL} and {_SYMBOL}: it names no elements")
    return data, {_LABEL: sites.get(_LABEL, sites.get(_SYMBOL)), **sites}


def _refuse_guesses(sites: Data) -> None:
    """Refuse sites that pymatgen would leave out, or take for another element or place."""
    for index, label in enumerate(sites[_LABEL]):
        symbol = sites[_SYMBOL][index] if _SYMBOL in sites else label
        pattern = r"([A-Za-z]*)[\d.]*[+-]?[\d.]*" if _SYMBOL in sites else "([A-Za-z]*).*"  # Fe3+, Fe+3; Fe1A
        letters = found.group(1) if (found := re.fullmatch(pattern, symbol)) else ""
        if not _is_element(letters) and "+ " not in symbol:  # the Pauling File's 0.8Nb + 0.2Zr
            if _SYMBOL in sites or not (_is_element(letters[:2]) or _is_element(letters[:1])):
                raise BadStructureError(f"site {label}: {symbol!r} is no element", "unknown-element")
            warnings.warn(f"sites called {letters} are taken for the element that they begin with", stacklevel=2)
        for key in _COORDINATES:
            if sites[key][index] in _UNSET:
                raise DataError(f"site {label}: {key} is {sites[key][index]!r}: it has no place")


def _is_element(letters: str) -> bool:
    return letters.upper() != "T" and Element.is_valid_symbol(letters.title())  # T is a tetrahedral site, no tritium


def _set_occupancies(sites: Data) -> None:
    """Unset ones are 1, as the CIF dictionary says; sites that are marked as dummies are none."""
    if _OCCUPANCY in sites:
        sites[_OCCUPANCY] = ["1" if value in _UNSET else value for value in sites[_OCCUPANCY]]
    flags = sites.get("_atom_site_calc_flag", ())
    if "dum" in flags:
        warnings.warn("dummy sites are left behind", stacklevel=2)
        for key, column in sites.items():
            sites[key] = [value for value, flag in zip(column, flags, strict=True) if flag != "dum"]


def _refuse_other_operations(data: Data) -> None:
    """Refuse symmetry operations that are none: pymatgen takes what it recognises of them."""
    for key in filter(_OPERATIONS.fullmatch, data):
        for operation in [data[key]] if isinstance(data[key], str) else data[key]:
            try:
                matrix = SymmOp.from_xyz_str(operation).rotation_matrix
            except (ValueError, ArithmeticError):
                matrix = np.zeros((3, 3))
            if not re.fullmatch(r"[xyz\d\s.,/+*-]+", operation.lower()) or round(abs(np.linalg.det(matrix)), 3) != 1:
                raise DataError(f"{operation!r} is no symmetry operation")


def _doubt(structure: Structure, data: Data, remarks: list[str]) -> str:
    """Why a structure cannot be what the file is about: it has other atoms than the file says. Empty if it may be."""
    if any("Defaulting to P1" in remark for remark in remarks):
        for key, value in data.items():
            if _GROUP.fullmatch(key) and value.replace(" ", "").upper() not in (*_UNSET, "P1", "1"):
                return f"space group {value!r} is unknown: write its operations (_symmetry_equiv_pos_as_xyz)"
    if dropped := [remark.split()[0] for remark in remarks if remark.endswith("parsed as ")]:
        return f"a site is called {dropped[0]}: its hydrogens have no sites of their own"
    attached = [value for value in data.get("_atom_site_attached_hydrogens", ()) if value not in (*_UNSET, "0")]
    if attached or "implicit_hydrogens" in structure.site_properties:
        return "atoms have hydrogens attached that have no sites of their own"
    formula = data.get("_chemical_formula_sum", "?")
    if formula in _UNSET or not structure.is_ordered:
        return ""
    try:
        said, found = _shares(Composition(formula.replace(",", " "))), _shares(structure.composition)
    except ValueError:
        warnings.warn("the formula cannot be read, so that nobody compared it with the sites", stacklevel=2)
        return ""
    if np.allclose(said, found, rtol=2e-3, atol=1e-4):
        return ""
    return f"its formula is {formula!r}, and its sites make {structure.composition.reduced_formula}"


def _shares(composition: Composition) -> np.ndarray:
    """Each element's share of the atoms, by atomic number; isotopes are their element."""
    shares = np.zeros(120)
    for element, amount in composition.items():
        shares[element.Z] += amount
    return shares / shares.sum()
