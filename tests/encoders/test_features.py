"""Features: sizes, and independence of batch, cell, order, place and orientation."""

from __future__ import annotations

import matgl
import numpy as np
import pytest
import torch
from small_systems import (
    ELEMENTS,
    NAMES,
    cscl,
    iron,
    make_batch,
    nacl,
    skewed,
    small_encoder,
    small_model,
    some_crystals,
    supercell,
)

from matgl_ssl._backend import BACKEND
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import new_model

MODELS = {
    "MEGNet": ("MEGNet", {}),
    "M3GNet set2set": ("M3GNet", {"readout_type": "set2set"}),
    "M3GNet weighted_atom": ("M3GNet", {"readout_type": "weighted_atom"}),
    "M3GNet reduce_atom": ("M3GNet", {"readout_type": "reduce_atom"}),
    "M3GNet sum over atoms": ("M3GNet", {"is_intensive": False}),
}
if BACKEND == "pyg":
    MODELS |= {
        "TensorNet": ("TensorNet", {}),
        "TensorNet reduce_atom": ("TensorNet", {"readout_type": "reduce_atom"}),
        "TensorNet sum over atoms": ("TensorNet", {"is_intensive": False}),
        "TensorNet Bessel SO(3)": (
            "TensorNet",
            {"rbf_type": "SphericalBessel", "equivariance_invariance_group": "SO(3)"},
        ),
        "TensorNet alone": ("TensorNet", {"nblocks": 0}),
    }
SIZES = {"M3GNet": (16,) * 3, "MEGNet": (8,) * 4, "TensorNet": (8, 24, 24, 8)}
"""Of the atom vectors at each layer."""


def build(name: str) -> Encoder:
    """With DGL the three-body cutoff is at the cutoff: below it, M3GNet mixes up bonds (see test_dgl_backend.py)."""
    architecture, arguments = MODELS[name]
    if BACKEND == "dgl" and architecture == "M3GNet":
        arguments = {**arguments, "threebody_cutoff": 5.0}
    return small_encoder(architecture, **arguments)


@pytest.fixture(params=MODELS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return build(request.param)


def encode(encoder: Encoder, crystals):
    with torch.no_grad():
        return encoder(make_batch(encoder, crystals))


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Relative to the size of the vectors, as the weights set it."""
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= tolerance * max(scale, 0.05)


def crystal_vectors(encoder: Encoder, batch, features) -> list[torch.Tensor]:
    """Everything that is one vector a crystal, at every layer."""
    vectors = [batch.mean_over_atoms(node) for node in features.node]
    edges = torch.repeat_interleave(torch.arange(len(batch)), batch.n_edges)
    for edge in filter(torch.is_tensor, features.edge):
        total = edge.new_zeros(len(batch), edge.shape[1]).index_add_(0, edges, edge)
        vectors.append(total / batch.n_edges[:, None])
    vectors += [state for state in features.state if state is not None]
    if features.readout is not None:
        vectors += [features.readout, features.output[:, None]]
    else:
        vectors.append((features.output / batch.n_atoms)[:, None])
    return vectors


def vectors_of(encoder: Encoder, crystals) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Vectors of the atoms at every layer, and of the crystals."""
    batch = make_batch(encoder, crystals)
    with torch.no_grad():
        features = encoder(batch)
    return features.node, crystal_vectors(encoder, batch, features)


def test_every_layer_has_a_vector_for_each_atom_edge_and_crystal(encoder):
    batch = make_batch(encoder, some_crystals())
    features = encoder(batch)
    sizes = SIZES[encoder.architecture.name]
    if encoder.architecture.name == "TensorNet":
        sizes = (*sizes[: len(encoder.model.layers) + 1], sizes[-1])
    n_layers = len(sizes) - 1
    assert encoder.n_layers == n_layers
    assert encoder.node_dims == sizes
    assert len(features.node) == len(features.edge) == len(features.state) == n_layers + 1
    assert all(node.ndim == 2 and len(node) == 17 for node in features.node)
    edges = features.edge if features.edge[-1] is not None else features.edge[:1]
    assert all(edge.ndim == 2 and len(edge) == int(batch.n_edges.sum()) for edge in edges)
    assert features.node[-1].shape[1] == encoder.node_dim
    if features.edge[-1] is None:
        assert features.edge[1:] == [None] * n_layers
        with pytest.raises(ModelError, match="TensorNet has no edge vectors at its last layer"):
            encoder.edge_dim  # noqa: B018
    else:
        assert features.edge[-1].shape[1] == encoder.edge_dim
    assert features.output.shape == (4,)
    if encoder.architecture.name == "MEGNet":
        assert all(state.shape[0] == 4 for state in features.state)
    else:
        assert features.state == [None] * (n_layers + 1)
    for first, second in zip(features.node[:-1], features.node[1:], strict=True):
        assert first.shape != second.shape or not torch.allclose(first, second)


def test_the_readout_vector_is_what_the_model_makes_its_output_of(encoder):
    features = encode(encoder, some_crystals())
    head = encoder.architecture.readout_head(encoder.model)
    if features.readout is None:
        assert head is None
        assert not encoder.model.is_intensive
    else:
        with torch.no_grad():
            torch.testing.assert_close(head(features.readout).reshape(-1), features.output)


def test_layer_zero_knows_the_element_and_nothing_else(encoder):
    features = encode(encoder, [nacl(), nacl(), cscl()])
    node = features.node[0]
    numbers = np.concatenate([c.numbers for c in (nacl(), nacl(), cscl())])
    chlorine = np.flatnonzero(numbers == 17).tolist()
    assert_close(node[chlorine], node[chlorine[:1]].expand(len(chlorine), -1))
    assert not torch.allclose(node[0], node[chlorine[0]])


def test_features_do_not_depend_on_order_or_company_in_the_batch(encoder):
    crystals = [cscl(), iron(), skewed(), nacl()]
    sizes = [len(c) for c in crystals]
    together = vectors_of(encoder, crystals)
    backwards = vectors_of(encoder, crystals[::-1])
    alone = [vectors_of(encoder, [c]) for c in crystals]
    for layer, nodes in enumerate(together[0]):
        parts = zip(nodes.split(sizes), backwards[0][layer].split(sizes[::-1])[::-1], alone, strict=True)
        for part, mirrored, (own, _) in parts:
            assert_close(mirrored, part)
            assert_close(own[layer], part)
    for kind, vectors in enumerate(together[1]):
        assert_close(backwards[1][kind].flip(0), vectors)
        assert_close(torch.cat([own[kind] for _, own in alone]), vectors)


@pytest.mark.parametrize(
    ("crystal", "repeats"),
    [(skewed(), (2, 1, 1)), (cscl(), (2, 2, 2)), (iron(), (2, 2, 2)), (iron(), (3, 1, 1))],
    ids=lambda x: getattr(x, "id", str(x)),
)
def test_features_are_those_of_any_supercell(encoder, crystal, repeats):
    large = supercell(crystal, repeats)
    one, crystal_one = vectors_of(encoder, [crystal])
    many, crystal_many = vectors_of(encoder, [large])
    for layer in range(encoder.n_layers + 1):
        assert_close(many[layer], one[layer].repeat(len(large) // len(crystal), 1), 2e-5)
    if sums_its_readout(encoder):
        crystal_one = [*crystal_one[:-2], crystal_one[-2] * len(large) / len(crystal)]
    for found, expected in zip(crystal_many, crystal_one, strict=False):
        assert_close(found, expected)


def sums_its_readout(encoder: Encoder) -> bool:
    """MatGL 2.2's weighted_atom readout is a sum over atoms, and its "intensive" output grows with the cell."""
    readout = getattr(encoder.model, "readout", None)
    return BACKEND == "dgl" and type(readout).__name__ == "WeightedAtomReadOut"


def test_features_do_not_depend_on_the_order_of_atoms(encoder):
    crystal = skewed()
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = Crystal(crystal.numbers[order], crystal.frac_coords[order], crystal.lattice)
    first, second = encode(encoder, [crystal]), encode(encoder, [shuffled])
    for layer in range(encoder.n_layers + 1):
        assert_close(second.node[layer], first.node[layer][torch.from_numpy(order)])
    assert_close(second.output, first.output)


def test_features_do_not_depend_on_place_orientation_or_choice_of_images(encoder):
    crystal = skewed()
    rng = np.random.default_rng(5)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    moved = crystal.frac_coords + rng.normal(size=3) + rng.integers(-2, 3, size=crystal.frac_coords.shape)
    other = Crystal(crystal.numbers, moved, crystal.lattice @ rotation)
    first, second = encode(encoder, [crystal]), encode(encoder, [other])
    for layer in range(encoder.n_layers + 1):
        assert_close(second.node[layer], first.node[layer], 1e-4)  # the rotation rounds coordinates anew
    assert_close(second.output, first.output, 1e-4)


def test_another_element_or_distance_gives_other_features(encoder):
    crystal = nacl()
    numbers = crystal.numbers.copy()
    numbers[0] = 12
    other = Crystal(numbers, crystal.frac_coords, crystal.lattice)
    wider = Crystal(crystal.numbers, crystal.frac_coords, 1.05 * crystal.lattice)
    base, substituted, strained = (encode(encoder, [c]).node[-1] for c in (crystal, other, wider))
    assert not torch.allclose(base[1:], substituted[1:], atol=1e-5)
    assert not torch.allclose(base, strained, atol=1e-5)


def chain(substitute: bool = False, shift: float = 0.0) -> Crystal:
    """Thirty-six atoms along 86 Å; the middle one substituted or moved."""
    n, spacing = 36, 2.4
    numbers = np.tile([11, 17, 12, 8], n // 4)
    frac = np.zeros((n, 3))
    frac[:, 2] = np.arange(n) / n
    if substitute:
        numbers[n // 2] = 26
    frac[n // 2, 2] += shift / (n * spacing)
    return Crystal(numbers, frac, np.diag([3.5, 3.5, n * spacing]))


def distance_to_change(shift: float) -> torch.Tensor:
    length = 36 * 2.4
    z = 2.4 * np.arange(36)
    distances = np.abs(z[:, None] - [length / 2, length / 2 + shift])
    return torch.from_numpy(np.minimum(distances, length - distances).min(1))


@pytest.mark.parametrize("change", [{"substitute": True}, {"shift": 0.7}], ids=["substituted", "moved"])
@pytest.mark.parametrize("name", [n for n in MODELS if n != "MEGNet"])
def test_a_layer_sees_one_cutoff_farther_and_no_more(name, change):
    encoder = build(name)
    before, after = encode(encoder, [chain()]), encode(encoder, [chain(**change)])
    distance = distance_to_change(change.get("shift", 0.0))
    # Before MatGL 3, messages came from atoms that had seen the angles around them: up to two cutoffs a layer.
    reach = encoder.cutoff + (encoder.model.threebody_cutoff if BACKEND == "dgl" else 0.0)
    for layer in range(encoder.n_layers + 1):
        difference = (after.node[layer] - before.node[layer]).abs().amax(1)
        beyond = distance > layer * reach
        assert int(beyond.sum()) >= 15
        assert float(difference[beyond].max()) <= 5e-6
        if layer:
            assert float(difference[(distance > 0.8) & ~beyond].max()) > 1e-4


def test_megnet_is_local_at_layer_one_and_mixes_the_whole_cell_from_layer_two_on():
    encoder = small_encoder("MEGNet")
    before, after = encode(encoder, [chain()]), encode(encoder, [chain(substitute=True)])
    far = distance_to_change(0.0) > 3 * encoder.cutoff
    one, two, three = ((after.node[k] - before.node[k])[far].abs().max() for k in (1, 2, 3))
    assert float(one) <= 1e-6
    assert float(two) > 1e-5
    assert float(three) > 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_sizes_elements_and_cutoff_come_from_the_model(name):
    encoder = small_encoder(name, cutoff=4.5)
    assert encoder.element_types == ELEMENTS
    assert encoder.cutoff == 4.5
    assert encoder.graph_builder().cutoff == 4.5
    assert encoder.node_dims == SIZES[name]
    if name != "TensorNet":
        assert encoder.edge_dim == encoder.node_dim


def test_a_model_with_state_labels_asks_for_the_state():
    model = small_model("MEGNet", ntypes_state=4, dim_state_embedding=6, include_state=True)
    encoder = Encoder(model).eval()
    batch = make_batch(encoder, [nacl(), cscl()])
    with pytest.raises(ModelError, match="state_attr"):
        encoder(batch)
    with torch.no_grad():
        first = encoder(batch, state=torch.tensor([0, 0])).output
        second = encoder(batch, state=torch.tensor([0, 3])).output
    assert first[0] == pytest.approx(float(second[0]), rel=1e-5)
    assert first[1] != pytest.approx(float(second[1]), rel=1e-5)
    assert encoder.node_dim == 8


def test_a_state_may_have_any_length():
    encoder = small_encoder("MEGNet", dim_state_embedding=3)
    assert encode(encoder, [nacl(), cscl()]).state[0].shape == (2, 8)


def test_another_architecture_is_refused_with_the_names_of_those_known():
    with pytest.raises(ModelError, match=f"Linear is not an encoder matgl_ssl knows: {', '.join(NAMES)}"):
        Encoder(torch.nn.Linear(2, 2))


@pytest.mark.pyg
def test_a_model_derived_from_another_of_matgls_is_not_taken_for_it():
    model = matgl.models.QET(element_types=ELEMENTS, units=8)
    assert isinstance(model, matgl.models.TensorNet)
    with pytest.raises(ModelError, match="QET is not an encoder"):
        Encoder(model)


@pytest.mark.dgl
def test_tensornet_needs_the_other_backend():
    with pytest.raises(ConfigError, match="TensorNet is not available with MatGL on DGL: use an environment with"):
        new_model("TensorNet")
    with pytest.raises(ModelError, match="TensorNet is not an encoder"):
        Encoder(matgl.models.TensorNet(element_types=ELEMENTS))
