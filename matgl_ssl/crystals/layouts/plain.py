"""A structure out of plain data.

Numbers and symbols are read from known fields. Nothing that the data names is imported or called: pymatgen's own
``from_dict`` makes an object of any ``@module`` and ``@class`` that it meets.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from matgl_ssl.crystals.records import Crystal
from matgl_ssl.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

    One: TypeAlias = Crystal | Structure | Atoms

MAX_ATOMS = 100_000
"""Atoms of one structure: far more than a graph network takes, and few enough to be read in a second."""
CLASSES = {"Structure", "IStructure", "Slab", "Interface", "GrainBoundary"}
"""pymatgen's classes whose fields are those of a structure."""
_HOLDERS = {"ComputedStructureEntry": "structure", "structures": "attributes"}
"""Where a structure is held, by the holder's class (pymatgen) or type (OPTIMADE)."""
_NUMBERS = {element.symbol: element.Z for element in Element}
_DEPTH = 4


def from_mapping(data: Mapping[str, Any], depth: int = 0) -> One:
    """The structure that the fields of a mapping describe.

    Args:
        data: A pymatgen structure or computed entry, JARVIS or ASE atoms, an OPTIMADE structure or its attributes, as
            their libraries write them to JSON; or our own columns.
        depth: How many mappings hold this one.

    Raises:
        DataError: If it is none of these, or its fields do not fit each other.
    """
    if (holder := _holder(data)) and depth < _DEPTH:
        return from_mapping(data[holder], depth + 1)
    if not (fields := fields_of(data)):
        known = "; ".join(", ".join(each) for each in LAYOUTS)
        raise DataError(f"no structure among the fields {', '.join(map(str, data)):.120}. One of these is: {known}.")
    try:
        return LAYOUTS[fields](data)
    except DataError:
        raise
    except Exception as err:  # whatever a stranger's values make numpy and pymatgen raise
        raise DataError(f"a structure with unreadable {', '.join(fields)}: {type(err).__name__}: {err}") from err


def is_described(data: Mapping[str, Any]) -> bool:
    """Whether a mapping has the fields of a structure, or holds one that should have."""
    return bool(_holder(data) or fields_of(data))


def _holder(data: Mapping[str, Any]) -> str:
    holder = _HOLDERS.get(str(data.get("@class", data.get("type"))), "")
    return holder if isinstance(data.get(holder), Mapping) else ""


def fields_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that describe a structure; empty if there are none."""
    return next((each for each in LAYOUTS if all(data.get(name) is not None for name in each)), ())


def parsed(text: str) -> Any:
    """What JSON text says.

    Raises:
        DataError: If it is none, or nested beyond what Python reads.
    """
    try:
        return json.loads(text)
    except ValueError as err:
        raise DataError(f"{text!r:.60} is no JSON: {err}") from err
    except RecursionError as err:
        raise DataError("JSON that is nested too deeply: no layout of this field nests more than ten times") from err


def array(value: Any) -> np.ndarray:
    """Numbers, of lists or in ASE's JSON of an array."""
    if isinstance(value, Mapping) and "array" in value:  # ASE's Cell
        value = value["array"]
    if isinstance(value, np.ndarray) and value.dtype == object:  # lists of lists out of pandas
        value = value.tolist()
    if isinstance(value, Mapping) and "__ndarray__" in value:
        shape, _, value = value["__ndarray__"]
        return np.array(value, dtype=float).reshape(shape)
    return np.array(value, dtype=float)


def _crystal(symbols: Sequence[Any], coords: Any, cell: Any, *, cartesian: bool = False, pbc: Any = True) -> One:
    """An ordered crystal; ``symbols`` may be atomic numbers."""
    n_atoms = _few(symbols)
    lattice, coords = array(cell).reshape(3, 3), array(coords)
    if coords.size != 3 * n_atoms:
        raise DataError(f"{n_atoms} atoms, but {coords.size} coordinates: there are three for each atom")
    coords = coords.reshape(n_atoms, 3)
    numbers = [_NUMBERS.get(s) if isinstance(s, str) else s for s in symbols]
    periodic = np.broadcast_to(np.array(pbc, dtype=bool), 3)
    if None in numbers or not periodic.all():  # pymatgen knows the names of dummies; the checks say what is wrong
        box = Lattice(lattice, pbc=tuple(map(bool, periodic)))
        return Structure(box, list(symbols), coords, coords_are_cartesian=cartesian)
    if cartesian:
        coords = _fractions(coords, lattice)
    return Crystal(np.array(numbers, dtype=np.int64), coords, lattice)


def _few(sites: Any) -> int:
    if isinstance(sites, str):
        raise DataError(f"{sites!r:.60} is text; expected a list with one item for each atom")
    if len(sites) > MAX_ATOMS:
        raise DataError(f"{len(sites):,} atoms: structures of more than {MAX_ATOMS:,} are not read")
    return len(sites)


def _fractions(coords: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    if not abs(np.linalg.det(lattice)) > 1e-12:
        raise DataError(f"the cell has no volume: {lattice.tolist()}")
    return np.linalg.solve(lattice.T, coords.T).T


def _of_pymatgen(data: Mapping[str, Any]) -> One:
    if (name := data.get("@class", "Structure")) not in CLASSES:
        raise DataError(f"a {name!r:.60} is no structure; these are: {', '.join(sorted(CLASSES))}")
    box, sites = data["lattice"], data["sites"]
    if "matrix" in box:
        lattice = array(box["matrix"]).reshape(3, 3)
    else:
        lattice = Lattice.from_parameters(*(float(box[k]) for k in ("a", "b", "c", "alpha", "beta", "gamma"))).matrix
    _few(sites)
    occupations = [_occupation(site["species"]) for site in sites]
    cartesian = bool(len(sites)) and "abc" not in sites[0]
    coords = array([site["xyz" if cartesian else "abc"] for site in sites]).reshape(-1, 3)
    if all(len(each) == 1 and abs(next(iter(each.values())) - 1) < 1e-8 for each in occupations):
        for what in _left_behind(data, sites):
            warnings.warn(f"{what} are left behind", stacklevel=2)
        symbols = [next(iter(each)) for each in occupations]
        return _crystal(symbols, coords, lattice, cartesian=cartesian, pbc=box.get("pbc", True))
    return Structure(Lattice(lattice), occupations, coords, coords_are_cartesian=cartesian)


def _occupation(species: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How much of each element a site holds, whatever its oxidation states."""
    found: dict[str, float] = {}
    for each in species:
        found[str(each["element"])] = found.get(str(each["element"]), 0.0) + float(each["occu"])
    return found


def _left_behind(data: Mapping[str, Any], sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a structure says that a crystal has no place for."""
    species = [each for site in sites for each in site["species"]]
    found = [name for name, value in ((sites[0].get("properties") if sites else {}) or {}).items() if value is not None]
    charged = any(each.get("oxidation_state") for each in species)
    isotopes = any(each.get("element") in ("D", "T") for each in species)
    lost = ["magnetic moments" if name == "magmom" else f"site properties {name!r:.40}" for name in found]
    return [
        *["oxidation states"] * charged,
        *["isotopes"] * isotopes,
        *["the cell's charge"] * bool(data.get("charge") and not charged),
        *lost,
    ]


def _of_jarvis(data: Mapping[str, Any]) -> One:
    cartesian = data.get("cartesian", False) in (True, "True", "true")
    return _crystal(data["elements"], data["coords"], data["lattice_mat"], cartesian=cartesian)


def _of_optimade(data: Mapping[str, Any]) -> One:
    names, species = data["species_at_sites"], data.get("species")
    kinds = {each["name"]: each for each in (parsed(species) if isinstance(species, str) else species) or ()}
    occupations = {}
    for name in dict.fromkeys(names):
        kind = kinds.get(name) or {"chemical_symbols": [name], "concentration": [1.0]}
        held = zip(kind["chemical_symbols"], kind["concentration"], strict=True)
        occupations[name] = {symbol: float(part) for symbol, part in held if symbol != "vacancy"}
        if not occupations[name]:
            raise DataError(f"the sites of species {name!r:.40} are vacancies: leave them out, or fill them")
    lattice, coords = data["lattice_vectors"], data["cartesian_site_positions"]
    periodic = data.get("dimension_types")
    pbc = True if periodic is None else array(periodic)
    if all(list(held.values()) == [1.0] for held in occupations.values()):
        symbols = [next(iter(occupations[name])) for name in names]
        return _crystal(symbols, coords, lattice, cartesian=True, pbc=pbc)
    _few(names)
    sites = [occupations[name] for name in names]
    return Structure(Lattice(array(lattice)), sites, array(coords), coords_are_cartesian=True)


def _of_ase(data: Mapping[str, Any]) -> One:
    symbols = data["numbers"] if "numbers" in data else data["symbols"]
    atoms = symbols if isinstance(symbols, list) and isinstance((*symbols, 0)[0], str) else _integers(symbols)
    pbc = data.get("pbc", True)
    return _crystal(atoms, data["positions"], data["cell"], cartesian=True, pbc=pbc if pbc is True else array(pbc))


def _of_ours(data: Mapping[str, Any]) -> One:
    return _crystal(_integers(data["numbers"]), data["frac_coords"], data["lattice"])


def _integers(numbers: Any) -> list[int]:
    found = array(numbers).ravel()
    if not np.array_equal(found, np.round(found)):
        raise DataError(f"atomic numbers are whole: {found.tolist()!r:.80}")
    return [int(z) for z in found]


LAYOUTS: dict[tuple[str, ...], Callable[[Mapping[str, Any]], One]] = {
    ("lattice", "sites"): _of_pymatgen,
    ("lattice_mat", "coords", "elements"): _of_jarvis,
    ("lattice_vectors", "cartesian_site_positions", "species_at_sites"): _of_optimade,
    ("numbers", "frac_coords", "lattice"): _of_ours,
    ("numbers", "positions", "cell"): _of_ase,
    ("symbols", "positions", "cell"): _of_ase,
}
