"""Our batches against MatGL's own ways of running one crystal: the same graphs, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matgl.ext.ase import PESCalculator
from matgl.ext.pymatgen import Structure2Graph
from small_systems import (
    ELEMENTS,
    EXTENSIVE,
    NAMES,
    cscl,
    iron,
    make_batch,
    nacl,
    skewed,
    small_encoder,
    small_model,
    some_crystals,
)

from matgl_ssl.backends import Potential, backend, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import GraphBuilder


def run(model, crystals):
    batch = make_batch(small_encoder(type(model).__name__), crystals)
    with torch.no_grad():
        return backend.run_model(model, batch, torch.zeros(len(batch), 2)).reshape(-1)


def with_isolated_atom() -> Crystal:
    """A bonded pair and, 9 Å away from it and its images, a lonely atom."""
    frac = np.array([[0, 0, 0], [0, 0, 2.0 / 18], [0.5, 0.5, 0.5]])
    return Crystal(np.array([11, 17, 26]), frac, 18.0 * np.eye(3), id="lonely")


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_predicts_what_matgl_predicts_for_each_structure(name):
    model = small_model(name)
    crystals = some_crystals()
    with torch.no_grad():
        expected = torch.stack([model.predict_structure(c.to_structure()).reshape(()) for c in crystals])
    torch.testing.assert_close(run(model, crystals), expected, rtol=1e-6, atol=1e-6)
    assert expected.std() > 1e-3  # the comparison has something to compare


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_predicts_what_matgl_predicts(name):
    model = small_model(name)
    with torch.no_grad():
        expected = model.predict_structure(skewed().to_structure()).reshape(1)
    torch.testing.assert_close(run(model, [skewed()]), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", EXTENSIVE)
def test_a_potential_on_a_batch_equals_matgls_calculator_on_each_crystal(name):
    model = small_model(name, is_intensive=False)
    potential = Potential(model, calc_stresses=True).eval()
    crystals = some_crystals()
    batch = make_batch(small_encoder(name), crystals)
    energies, forces, stresses, *_ = (t.detach() for t in backend.run_potential(potential, batch, None))
    calculator = PESCalculator(potential)  # stresses in GPa, as they come
    largest = 0.0
    for index, crystal in enumerate(crystals):
        atoms = crystal.to_atoms()
        atoms.calc = calculator
        assert float(energies[index]) == pytest.approx(atoms.get_potential_energy(), rel=1e-5, abs=1e-5)
        expected = atoms.get_forces()
        found = forces[batch.batch == index].numpy()
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected) + 1e-6
        stress = calculator.results["stress"]
        full = stress if stress.shape == (3, 3) else atoms.get_stress(voigt=False)
        assert np.linalg.norm(stresses.reshape(-1, 3, 3)[index].numpy() - full) <= 1e-5 * np.linalg.norm(full)
        largest = max(largest, np.abs(expected).max())
    assert largest > 1e-3


@pytest.mark.parametrize("crystal", [nacl(), cscl(), iron(), skewed()], ids=lambda c: c.id)
def test_graphs_are_those_of_matgls_converter_on_a_true_structure(crystal, backend_name):
    converter = Structure2Graph(element_types=ELEMENTS, cutoff=4.5)
    g, lattice, _ = converter.get_graph(crystal.to_structure())
    if backend_name == "dgl":
        types, frac, edges = g.ndata["node_type"], g.ndata["frac_coords"], torch.stack(g.edges())
        offsets = g.edata["pbc_offset"]
    else:
        types, frac, edges, offsets = g.node_type, g.frac_coords, g.edge_index, g.pbc_offset
    ours = GraphBuilder(ELEMENTS, 4.5)(crystal)
    assert ours.edge_index.dtype == torch.int64
    assert ours.edge_index.shape[1] > 0
    assert torch.equal(ours.node_type, types.long())
    torch.testing.assert_close(ours.frac_coords, frac)
    torch.testing.assert_close(ours.lattice, lattice[0])

    def as_set(edges, offsets):
        return sorted(zip(*edges.tolist(), *offsets.T.tolist(), strict=True))

    assert as_set(ours.edge_index, ours.pbc_offset) == as_set(edges, offsets)


def test_edges_have_the_length_of_the_distance_they_stand_for():
    crystal = skewed()
    graph = GraphBuilder(ELEMENTS, 4.5)(crystal)
    source, destination = graph.edge_index.numpy()
    ends = crystal.frac_coords[destination] + graph.pbc_offset.numpy()
    lengths = np.linalg.norm((ends - crystal.frac_coords[source]) @ crystal.lattice, axis=1)
    assert (lengths <= 4.5 + 1e-6).all()
    structure = crystal.to_structure()
    expected = sum(len(n) for n in structure.get_all_neighbors(4.5))
    assert len(lengths) == expected


def test_collate_shifts_edges_to_their_own_crystals_atoms():
    build = GraphBuilder(ELEMENTS, 5.0)
    graphs = [build(c) for c in some_crystals()]
    batch = collate(graphs)
    assert batch.ids == ["nacl", "cscl", "fe", "skewed"]
    assert batch.n_atoms.tolist() == [8, 2, 1, 6]
    assert torch.equal(batch.batch, torch.repeat_interleave(torch.arange(4), batch.n_atoms))
    assert batch.n_edges.tolist() == [g.edge_index.shape[1] for g in graphs]
    start_atom = start_edge = 0
    for graph in graphs:
        n, e = len(graph.node_type), graph.edge_index.shape[1]
        assert torch.equal(batch.edge_index[:, start_edge : start_edge + e] - start_atom, graph.edge_index)
        assert torch.equal(batch.pbc_offset[start_edge : start_edge + e], graph.pbc_offset)
        assert torch.equal(batch.node_type[start_atom : start_atom + n], graph.node_type)
        assert torch.equal(batch.frac_coords[start_atom : start_atom + n], graph.frac_coords)
        start_atom, start_edge = start_atom + n, start_edge + e
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])


def test_collate_keeps_scalar_labels_and_says_nan_where_there_is_none():
    build = GraphBuilder(ELEMENTS, 5.0)
    first, second = build(nacl()), build(cscl())
    first.labels = {"gap": 5.0, "phase": "cubic", "forces": np.zeros((8, 3)), "n": 3}
    second.labels = {"gap": None}
    labels = collate([first, second]).labels
    assert set(labels) == {"gap", "n"}
    assert labels["gap"][0] == 5.0
    assert torch.isnan(labels["gap"][1])
    assert labels["n"][0] == 3
    assert torch.isnan(labels["n"][1])


def test_collate_joins_what_views_wrote_about_atoms():
    build = GraphBuilder(ELEMENTS, 5.0)
    graphs = [build(nacl()), build(iron())]
    for value, graph in enumerate(graphs):
        graph.atom["note"] = torch.full((len(graph.node_type), 3), float(value))
    note = collate(graphs).atom["note"]
    assert note.shape == (9, 3)
    assert note[:8].abs().sum() == 0
    assert (note[8] == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_isolated_atom_beside_bonded_ones_is_finite(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl(), with_isolated_atom(), cscl()])
    features = encoder(batch, forces=True)
    assert not (batch.edge_index == 10).any()  # atom 8 + 2 is the lonely one
    for tensor in (*features.node, *filter(torch.is_tensor, features.edge), features.output, features.forces):
        assert torch.isfinite(tensor).all()
    assert features.forces[10].abs().sum() == 0
    alone = encoder(make_batch(encoder, [with_isolated_atom()]))
    torch.testing.assert_close(features.output[1:2], alone.output, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_crystals_and_batches_are_never_changed(name):
    crystal = skewed()
    kept = [crystal.numbers.copy(), crystal.frac_coords.copy(), crystal.lattice.copy()]
    encoder = small_encoder(name)
    batch = make_batch(encoder, [crystal])
    before = [batch.frac_coords.clone(), batch.lattice.clone(), batch.pbc_offset.clone(), batch.edge_index.clone()]
    encoder(batch, stresses=True)
    for array, old in zip((crystal.numbers, crystal.frac_coords, crystal.lattice), kept, strict=True):
        np.testing.assert_array_equal(array, old)
    for now, old in zip((batch.frac_coords, batch.lattice, batch.pbc_offset, batch.edge_index), before, strict=True):
        assert torch.equal(now, old)
        assert not now.requires_grad


def test_a_batch_moves_to_another_precision_and_keeps_its_integers():
    batch = make_batch(small_encoder("MEGNet"), [nacl(), iron()])
    batch.atom = {"mask": torch.ones(9, dtype=torch.bool), "noise": torch.ones(9, 3)}
    moved = batch.to("cpu", torch.float64)
    assert moved.frac_coords.dtype == moved.lattice.dtype == moved.pbc_offset.dtype == torch.float64
    assert moved.atom["noise"].dtype == torch.float64
    assert moved.atom["mask"].dtype == torch.bool
    assert moved.node_type.dtype == moved.edge_index.dtype == moved.batch.dtype == torch.int64
    assert moved.ids == batch.ids
    assert batch.frac_coords.dtype == torch.float32


def test_means_over_atoms_are_those_of_each_crystal():
    batch = make_batch(small_encoder("MEGNet"), some_crystals())
    values = torch.randn(17, 4)
    means = batch.mean_over_atoms(values)
    expected = torch.stack([part.mean(0) for part in values.split(batch.n_atoms.tolist())])
    torch.testing.assert_close(means, expected)


def test_atoms_of_each_crystal_are_counted_on_native_graphs():
    batch = make_batch(small_encoder("MEGNet"), some_crystals())
    assert backend.atoms_per_graph(backend.native(batch)).tolist() == [8, 2, 1, 6]
