"""CIFs that contradict themselves, or leave out what a parser would make up."""

from __future__ import annotations

import logging

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from matgl_ssl.crystals import check_dataset, check_structure, read_crystals
from matgl_ssl.errors import DataError, NothingLeftError

ICE = """data_ice
_cell_length_a 4.5
_cell_length_b 4.5
_cell_length_c 7.3
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
O1 O 0.3333 0.6667 0.06 1
O2 O 0.6667 0.3333 0.56 1
H1 H 0.3333 0.6667 0.20 1
H2 H 0.52 0.76 0.01 1
H3 H 0.6667 0.3333 0.70 1
H4 H 0.48 0.24 0.51 1
"""
WITHOUT_H = "\n".join(line for line in ICE.splitlines() if line[0] != "H") + "\n"
WITHOUT_SYMBOLS = ICE.replace("_atom_site_type_symbol\n", "").replace(" O ", " ").replace(" H ", " ")
SINGLE = ICE.partition("loop_")[0] + "_atom_site_label Si1\n" + "".join(f"_atom_site_fract_{x} 0\n" for x in "xyz")
"""An atom alone, without a loop."""

MAGNESIUM = (
    ICE.partition("loop_")[0].replace("P 1", "P 63/m m c")
    + "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nMg1 {} 0.25\n"
)


def with_formula(formula: str, text: str = ICE) -> str:
    return text.replace("data_ice\n", f"data_ice\n_chemical_formula_sum '{formula}'\n")


def with_column(name: str, values: str, text: str = ICE) -> str:
    """Another column after the occupancy, one character a site."""
    rows = iter(values)
    lines = (line + f" {next(rows)}" if line[0] in "OH" else line for line in text.splitlines())
    return "\n".join(lines).replace("_atom_site_occupancy", f"_atom_site_occupancy\n{name}") + "\n"


@pytest.fixture
def reading(tmp_path):
    def read(text: str):
        path = tmp_path / "x.cif"
        path.write_text(text, encoding="utf-8")
        return read_crystals(path)

    return read


FINE = {
    "as it is": (ICE, 6),
    "byte-order mark": ("\ufeff" + ICE, 6),
    "occupancy .": (ICE.replace("0.06 1", "0.06 ."), 6),
    "occupancy ?": (ICE.replace("1\n", "?\n"), 6),
    "no occupancies": (ICE.replace("_atom_site_occupancy\n", "").replace(" 1\n", "\n"), 6),
    "occupancy 1.0001": (ICE.replace("0.06 1", "0.06 1.0001"), 6),
    "occupancy 0.9999": (ICE.replace("0.06 1", "0.06 0.9999"), 6),
    "uncertainties": (ICE.replace("0.06 1", "0.060(2) 1"), 6),
    "formula": (with_formula("H4 O2"), 6),
    "reduced formula": (with_formula("H2 O1"), 6),
    "formula of isotopes": (with_formula("D2 O"), 6),
    "no formula": (with_formula("?"), 6),
    "formula of nobody's": (with_formula("ice, mostly"), 6),
    "isotopes": (ICE.replace(" H ", " D "), 6),
    "charges": (ICE.replace(" O ", " O2- ").replace(" H ", " H1+ "), 6),
    "labels alone": (WITHOUT_SYMBOLS, 6),
    "label of water": (WITHOUT_SYMBOLS.replace("O1", "Ow1"), 6),
    "no hydrogens attached": (with_column("_atom_site_attached_hydrogens", "000000"), 6),
    "a dummy site": (with_column("_atom_site_calc_flag", "dddddd").replace("0.51 1 d", "0.51 1 dum"), 5),
    "an atom without a loop": (SINGLE, 1),
    "a third of four digits": (MAGNESIUM.format("0.3333 0.6667"), 2),
    "a third of three digits": (MAGNESIUM.format("0.333 0.667"), 2),
    "no symmetry at all": (ICE.replace("_symmetry_space_group_name_H-M 'P 1'\n", ""), 6),
}


@pytest.mark.parametrize(("text", "n"), FINE.values(), ids=FINE)
def test_what_is_fine_is_read_whole(reading, text, n):
    (crystal,) = reading(text)
    assert len(crystal) == n
    assert set(crystal.symbols) <= {"H", "O", "Si", "Mg"}


REFUSED = {
    "formula with hydrogens, sites without": (with_formula("H4 O2", WITHOUT_H), "incomplete", "'H4 O2'.*sites make O2"),
    "formula without hydrogens, sites with": (with_formula("O2"), "incomplete", "'O2'.*sites make H2O"),
    "formula of other ratios": (with_formula("H3 O2"), "incomplete", "H3 O2"),
    "hydrogens attached": (with_column("_atom_site_attached_hydrogens", "22", WITHOUT_H), "incomplete", "attached"),
    "water as a label": (WITHOUT_SYMBOLS.replace("O1", "Wat1"), "incomplete", "attached"),
    "hydroxide as a label": (WITHOUT_SYMBOLS.replace("O1", "OH1"), "incomplete", "OH1"),
    "water as a symbol": (ICE.replace(" O ", " H2O "), "unknown-element", "'H2O' is no element"),
    "a dummy": (ICE.replace("O1 O", "X1 X"), "unknown-element", "X1: 'X' is no element"),
    "a vacancy": (ICE.replace("O1 O", "Va1 Va"), "unknown-element", "'Va' is no element"),
    "a tetrahedral site": (WITHOUT_SYMBOLS.replace("O1", "T1"), "unknown-element", "'T1' is no element"),
    "no symbol": (ICE.replace("O1 O", "O1 ?"), "unknown-element", r"O1: '\?' is no element"),
    "partly occupied": (ICE.replace("0.06 1", "0.06 0.5"), "disordered", "disordered"),
    "two elements": (ICE.replace("0.06 1", "0.06 0.5") + "N N 0.3333 0.6667 0.06 0.5\n", "disordered", "disordered"),
    "the same site twice": (ICE + "H9 H 0.48 0.24 0.51 1\n", "unreadable", "Occupancy 2.0 exceeded"),
    "coordinate ?": (ICE.replace("0.06 1", "? 1"), "unreadable", r"O1: _atom_site_fract_z is '\?'"),
    "coordinate .": (ICE.replace("0.06 1", ". 1"), "unreadable", r"O1: _atom_site_fract_z is '\.'"),
    "coordinate 1/3": (ICE.replace("0.3333 0.6667 0.06", "1/3 2/3 0.06"), "unreadable", "'1/3'"),
    "coordinate 0,06": (ICE.replace("0.06 1", "0,06 1"), "unreadable", "'0,06'"),
    "no angles": (ICE.replace("_cell_angle", "_angle"), "unreadable", "lacks _cell_angle_alpha, _cell_angle_beta"),
    "Cartesian": (ICE.replace("fract", "Cartn"), "unreadable", "lacks _atom_site_fract_x"),
    "mmCIF": (ICE.replace("_atom_site_", "_atom_site."), "unreadable", "mmCIF"),
    "no atoms": ("data_x\n_cell_length_a 1\n", "unreadable", "no atoms"),
    "a group of nobody's": (ICE.replace("'P 1'", "'P x y'"), "incomplete", "'P x y' is unknown"),
    "no operation": (ICE.replace("_symmetry_space_group_name_H-M 'P 1'",
                                 "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'x,y,w'"), "unreadable", "'x,y,w' is no"),
    "a projection": (ICE.replace("_symmetry_space_group_name_H-M 'P 1'",
                                 "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'x,x,z'"), "unreadable", "'x,x,z' is no"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_nobody_can_know_is_refused_with_its_reason(reading, text, code, said):
    with pytest.raises(NothingLeftError, match=said) as caught:
        check_dataset(reading(text))
    (finding,) = caught.value.report.findings
    assert finding.code == code
    assert "Invalid CIF" not in finding.message


def test_blocks_of_one_name_are_all_read(reading):
    dataset = reading(ICE + ICE.replace("4.5", "4.6") + with_formula("H4 O2", WITHOUT_H))
    kept, report = check_dataset(dataset)
    assert kept.ids == ["x-0", "x-1"]
    assert kept[0].volume < kept[1].volume
    assert [(f.id, f.code, f.index) for f in report.findings] == [("x-2", "incomplete", 2)]


def test_a_doubt_stays_with_its_crystal_until_it_is_checked(tmp_path):
    (tmp_path / "good.cif").write_text(ICE)
    (tmp_path / "less.cif").write_text(with_formula("H4 O2", WITHOUT_H))
    dataset = read_crystals(tmp_path, columns=[])
    assert (dataset.ids, dataset.label_names, dataset[1].formula) == (["good", "less"], [], "O2")
    assert not dataset[0].labels
    for same in (
        dataset.select([1, 0]),
        read_crystals(dataset.write_parquet(tmp_path / "t" / "t.parquet"), columns=[]),
    ):
        kept, report = check_dataset(same)
        assert kept.ids == ["good"]
        assert [(f.id, f.code) for f in report.findings] == [("less", "incomplete")]
    assert [f.code for f in check_structure(dataset[1])] == ["incomplete"]


def test_operations_and_groups_make_the_whole_cell(tmp_path):
    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]
    )
    path = tmp_path / "rutile.cif"
    CifWriter(rutile, symprec=0.01).write_file(path)
    assert read_crystals(path)[0].formula == "TiO2"
    assert len(read_crystals(path)[0]) == 6


def test_the_parsers_warnings_are_said_once_with_a_count(tmp_path, caplog):
    for i in range(4):
        (tmp_path / f"{i}.cif").write_text(ICE.replace("4.5", f"4.{i + 5}"))
    with caplog.at_level(logging.WARNING, "matgl_ssl"):
        read_crystals(tmp_path)
    said = [message for message in caplog.messages if "rounded to ideal values" in message]
    assert len(said) == 1
    assert "4 crystals, 0 first" in said[0]


def test_the_readers_own_error_names_the_file(reading):
    with pytest.raises(DataError, match=r"x\.cif: no crystal could be read: 1 unreadable; for example x: "):
        reading("data_x\n")
