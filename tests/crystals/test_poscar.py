"""POSCARs that name no elements, or contradict themselves."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from matgl_ssl.crystals import check_dataset, read_crystals
from matgl_ssl.errors import BadStructureError, NothingLeftError
from matgl_ssl.inference import predict

BODY = "my relaxation\n5.64\n0 .5 .5\n.5 0 .5\n.5 .5 0\n{}1 1\nDirect\n0 0 0\n.5 .5 .5\n"
VASP5 = BODY.format("Na Cl\n")
SELECTIVE = VASP5.replace("Direct\n0 0 0\n.5 .5 .5\n", "Selective\nDirect\n0 0 0 T T F\n.5 .5 .5 F F F\n")

FINE = {
    "VASP 5": VASP5,
    "POTCARs' names": BODY.format("Na_pv Cl/a1b2c3\n"),
    "symbols after the coordinates": BODY.format("").replace("0 0 0\n.5 .5 .5", "0 0 0 Na\n.5 .5 .5 Cl"),
    "a volume": VASP5.replace("5.64", "-44.851536"),
    "Cartesian": VASP5.replace("Direct", "Cartesian").replace("\n.5 .5 .5\n", "\n.5 0 0\n"),
    "selective dynamics": SELECTIVE,
    "velocities": VASP5 + "\n0 0 0\n0 0 1\n",
    "lattice velocities": VASP5 + "Lattice velocities and vectors\n1\n" + "0 0 0\n" * 6,
    "no comment": "\n" + VASP5.partition("\n")[2],
    "symbols on two lines": BODY.format("Na\nCl\n").replace("1 1\n", "1\n1\n"),
}  # fmt: skip


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_what_is_fine_is_rock_salt(tmp_path, text):
    (tmp_path / "POSCAR").write_text(text)
    (crystal,) = read_crystals(tmp_path / "POSCAR")
    assert crystal.symbols == ["Na", "Cl"]
    assert crystal.volume == pytest.approx(5.64**3 / 4, rel=1e-6)
    difference = crystal.frac_coords[1] - crystal.frac_coords[0]
    np.testing.assert_allclose(np.abs(difference - np.round(difference)), 0.5, atol=1e-6)


REFUSED = {
    "VASP 4": (BODY.format(""), "no-symbols", r"no element symbols in line 6 \(VASP 4\).*Na Cl"),
    "too many symbols": (BODY.format("Na Cl Br\n"), "unreadable", r"3 symbols \(Na Cl Br\) for 2 numbers"),
    "too few symbols": (BODY.format("Na\n"), "unreadable", r"1 symbols \(Na\) for 2 numbers"),
    "an atom missing": (VASP5.replace("\n.5 .5 .5\n", "\n"), "unreadable", "2 atoms are announced, and 1 lines"),
    "an atom too many": (VASP5 + ".1 .1 .1\n", "unreadable", "2 atoms are announced, and 3 lines"),
    "no mode": (VASP5.replace("Direct\n", ""), "unreadable", "2 atoms are announced, and 1 lines"),
    "other symbols after the coordinates": (VASP5.replace("0 0 0\n", "0 0 0 Cl\n"), "unreadable", "6, and Cl"),
    "a dummy": (BODY.format("Na X\n"), "unknown-element", "X"),
    "no element": (BODY.format("Na Qq\n"), "unknown-element", "Qq"),
    "text": ("hello\n", "unreadable", "number of atoms of each element"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_nobody_can_know_is_refused_with_its_reason(tmp_path, text, code, said):
    (tmp_path / "POSCAR").write_text(text)
    with pytest.raises(NothingLeftError, match=said) as caught:
        check_dataset(read_crystals(tmp_path / "POSCAR"))
    assert [finding.code for finding in caught.value.report.findings] == [code]


def test_elements_that_nobody_knows_are_none(tmp_path):
    (tmp_path / "POSCAR").write_text(BODY.format(""))
    (crystal,) = read_crystals(tmp_path / "POSCAR")
    assert (crystal.symbols, crystal.formula) == (["X", "X"], "")
    assert crystal.volume == pytest.approx(5.64**3 / 4)


def test_hydrogen_and_helium_are_not_predicted(tmp_path):
    from small_systems import small_model

    (tmp_path / "x.vasp").write_text(BODY.format(""))
    with pytest.raises(BadStructureError, match="VASP 4"):
        predict(model=small_model("MEGNet"), data=tmp_path / "x.vasp")


def test_what_is_left_behind_is_said_once_with_a_count(tmp_path, caplog):
    for i in range(3):
        (tmp_path / f"{i}.vasp").write_text(SELECTIVE)
    (tmp_path / "3.vasp").write_text(FINE["velocities"])
    with caplog.at_level(logging.WARNING, "matgl_ssl"):
        assert len(read_crystals(tmp_path)) == 4
    said = [message.partition(": ")[2] for message in caplog.messages]
    assert "selective dynamics are left behind (3 crystals, 0 first)." in said
    assert "velocities are left behind (3)." in said
