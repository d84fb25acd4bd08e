"""A potential that we export goes on to LAMMPS and ASE with MatGL's own tools, where matgl alone is installed."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from matgl.ext.ase import PESCalculator
from small_systems import ELEMENTS, nacl, small_model

from matgl_ssl import load_model, save_model
from matgl_ssl.backends import Potential

pytestmark = pytest.mark.pyg

CLI = "import sys; from matgl.cli import main; sys.exit(main())"
IN_LAMMPS = """
import json, sys
import numpy as np, torch
from pymatgen.core import Structure

model = torch.jit.load(sys.argv[1])
structure = Structure.from_dict(json.loads(sys.stdin.read()))
i, j, images, _ = structure.get_neighbor_list(float(sys.argv[2]))
order = np.argsort(i, kind="stable")
found = model(
    torch.tensor(structure.cart_coords, dtype=torch.float32), torch.tensor(np.stack([i, j])[:, order]),
    torch.tensor(images[order]).long(), torch.tensor(structure.lattice.matrix, dtype=torch.float32),
    torch.tensor(structure.atomic_numbers), torch.ones(len(structure), dtype=torch.bool), True,
)
print(json.dumps({"energy": float(found["total_energy_local"]), "forces": found["forces"].tolist()}))
"""


@pytest.mark.parametrize("name", ["M3GNet", "TensorNet"])
def test_lammps_gets_the_energy_and_forces_that_ase_gets(tmp_path, matgl_only_python, name):
    # MatGL takes an M3GNet to LAMMPS only with its smooth basis, which is not its default.
    model = small_model(name, is_intensive=False, **({"use_smooth": True} if name == "M3GNet" else {}))
    potential = Potential(model, element_refs=np.linspace(-3, 0, len(ELEMENTS)))
    path = save_model(potential.eval(), tmp_path / "potential", kind="potential", readout="trained", unit="eV")
    structure, file = nacl().to_structure(), tmp_path / "lammps.pt"
    options = {"capture_output": True, "text": True, "timeout": 300, "cwd": tmp_path}
    made = subprocess.run(
        [matgl_only_python, "-I", "-c", CLI, "create-lammps-model", "-m", str(path), "-o", str(file)],
        check=False,
        **options,
    )
    assert made.returncode == 0, made.stderr
    cutoff = str(potential.model.cutoff)
    ran = subprocess.run(
        [matgl_only_python, "-I", "-c", IN_LAMMPS, str(file), cutoff],
        input=json.dumps(structure.as_dict()),
        check=False,
        **options,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    atoms = structure.to_ase_atoms()
    atoms.calc = PESCalculator(load_model(path), stress_unit="eV/A3")
    assert found["energy"] == pytest.approx(atoms.get_potential_energy(), rel=1e-5)
    np.testing.assert_allclose(found["forces"], atoms.get_forces(), atol=1e-4 * np.abs(atoms.get_forces()).max())
