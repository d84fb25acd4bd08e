"""Deep InfoMax against loops over atoms and edges, and what its fakes must be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_systems import ELEMENTS, cscl, iron, nacl, rattled, skewed, small_encoder, supercell

from matgl_ssl import finetune, pretrain
from matgl_ssl.backends import NORMAL, collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.elements import standardised_element_table
from matgl_ssl.encoders.architectures import layer_of_parameter
from matgl_ssl.errors import ConfigError
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.pretexts.deep_infomax import SPECIES, DeepInfoMax
from matgl_ssl.pretexts.environment_pairs import Environments, partners
from matgl_ssl.testing import assert_two_processes_agree
from matgl_ssl.views import sample_generator

NAMES = ("M3GNet", "MEGNet")
ALL = ("roll", "species", "geometry", "permutation")
FAKES = ("species", "geometry", "permutation")
CRYSTALS = [nacl(), iron(), skewed(), cscl(), rattled(skewed(), 0.1, seed=4)]


def make(encoder, pretext, crystals):
    build = encoder.graph_builder()
    batches = {}
    for name, view in pretext.views.items():
        graphs = []
        for sample, crystal in enumerate(crystals):
            rng = sample_generator(0, 0, sample, view.stream)
            graphs.append(view.on_graph(build(view.on_crystal(crystal, rng)), rng))
        batches[name] = collate(graphs).to("cpu", torch.float64)
    return batches


def ask(pretext, encoder, batches):
    detached = pretext.detached_readout
    return pretext({name: encoder(batch, detached_readout=detached) for name, batch in batches.items()}, batches)


def doubled(name, **arguments):
    encoder = small_encoder(name).double()
    torch.manual_seed(0)
    return encoder, DeepInfoMax(encoder, **arguments).double()


def soft(x):
    return np.logaddexp(0, x)


def networks(module, x):
    return module(torch.as_tensor(x)).detach().numpy()


def environments_of(batch):
    """[(species, distances) of each atom, nearest first] of each crystal, by loops."""
    vectors = batch.edge_vectors().numpy()
    found = [[([], []) for _ in range(n)] for n in batch.n_atoms]
    first = (batch.n_atoms.cumsum(0) - batch.n_atoms).tolist()
    for e, (i, j) in enumerate(batch.edge_index.T.tolist()):
        c = int(batch.batch[i])
        species, distances = found[c][i - first[c]]
        species.append(int(batch.node_type[j]))
        distances.append(float(np.sqrt((vectors[e] ** 2).sum())))
    nearest_first = lambda pair: (round(1000 * pair[1]), pair[0])  # noqa: E731
    return [
        [tuple(map(list, zip(*sorted(zip(*atom, strict=True), key=nearest_first), strict=True))) for atom in atoms]
        for atoms in found
    ]


def local_reference(pretext, features, batch, negatives):
    local = pretext.local
    mean, log_variance = (networks(m, features.node[-1].detach()) for m in (local.mean, local.log_variance))
    u = networks(local.atom_critic, mean + batch.atom[NORMAL].numpy() * np.exp(log_variance / 2))
    table, envs = local.properties.numpy(), environments_of(batch)

    def score(atom, pairs):
        known = np.array([[*table[s], r] for s, r in pairs])
        return networks(local.pair_critic, known) @ u[atom]

    def average(values, pairs):
        return np.average(values, weights=[(1 + r) ** -2 for _, r in pairs])

    crystals, atom = [], 0
    for c, atoms in enumerate(envs):
        partner = envs[(c + len(envs) // 2) % len(envs)]
        flat = [s for species, _ in atoms for s in species]
        losses, edge = [], 0
        for a, (species, distances) in enumerate(atoms):
            other_species, other_distances = partner[a % len(partner)]
            n, m = len(species), len(other_species)
            true = list(zip(species, distances, strict=True))
            kinds = {
                "roll": [(other_species[k % m], other_distances[k % m]) for k in range(n)],
                "species": [(other_species[k % m], distances[k]) for k in range(n)],
                "geometry": [(species[k], other_distances[k % m]) for k in range(n)],
                "permutation": [(flat[(edge + k + len(flat) // 2) % len(flat)], distances[k]) for k in range(n)],
            }
            for kind in ("species", "permutation"):
                kinds[kind] = [fake for fake, pair in zip(kinds[kind], true, strict=True) if fake[0] != pair[0]]
            if len(envs) == 1:
                kinds = {"permutation": kinds["permutation"]}
            there = [kinds[k] for k in negatives if kinds.get(k)]
            if there:
                negative = np.mean([average(soft(score(atom, p)), p) for p in there])
                losses.append(average(soft(-score(atom, true)), true) + negative)
            edge += n
            atom += 1
        if losses:
            crystals.append(np.mean(losses))
    kl = np.mean(mean**2 / 2 + np.exp(log_variance) - log_variance)
    return (np.mean(crystals) if crystals else 0.0), kl


def global_reference(pretext, features, batches, fakes):
    overall, batch = pretext.overall, batches["crystal"]
    n = len(batch)
    parts = {k: networks(pretext.local.mean, f.node[-1].detach()) for k, f in features.items()}
    edges = batch.n_atoms.cumsum(0)[:-1].tolist()
    per_crystal = {k: np.split(v, edges) for k, v in parts.items()}
    if pretext.trains_readout:
        pooled = features["crystal"].readout.detach().numpy()
    else:
        pooled = np.stack([networks(overall.pool["before"], v).mean(0) for v in per_crystal["crystal"]])
        pooled = networks(overall.pool["after"], pooled)
    mean, log_variance = networks(overall.mean, pooled), networks(overall.log_variance, pooled)
    g = networks(overall.crystal_critic, mean + batch.labels[NORMAL].numpy() * np.exp(log_variance / 2))
    losses = []
    for c in range(n):
        members = networks(overall.atom_critic, per_crystal["crystal"][c])
        negatives = [soft(members @ g[(c + n // 2) % n]).mean()] if n > 1 else []
        for fake in fakes:
            species = np.split(batch.node_type.numpy(), edges)[c]
            if fake != "permutation" or len(set(species)) > 1:
                negatives.append(soft(networks(overall.atom_critic, per_crystal[fake][c]) @ g[c]).mean())
        if negatives:
            losses.append(soft(-members @ g[c]).mean() + np.mean(negatives))
    return np.mean(losses), np.mean(mean**2 / 2 + np.exp(log_variance) - log_variance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("negatives", [ALL, *((kind,) for kind in ALL)], ids=str)
def test_the_local_loss_is_that_of_loops_over_atoms_and_edges(name, negatives):
    encoder, pretext = doubled(name, training="local", negatives=negatives)
    batches = make(encoder, pretext, CRYSTALS)
    features = encoder(batches["crystal"])
    output = pretext({"crystal": features}, batches)
    loss, kl = local_reference(pretext, features, batches["crystal"], negatives)
    assert float(output.metrics["local_loss"]) == pytest.approx(loss, rel=1e-9)
    assert float(output.metrics["local_kl"]) == pytest.approx(kl, rel=1e-9)
    assert float(output.loss.detach()) == pytest.approx(loss + 0.1 * kl, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fakes", [(), FAKES], ids=str)
@pytest.mark.parametrize("training", ["greedy", "joint"])
def test_the_global_loss_is_that_of_loops_over_crystals(name, fakes, training):
    encoder, pretext = doubled(name, training=training, fakes=fakes, kl=0.3)
    batches = make(encoder, pretext, CRYSTALS)
    features = {k: encoder(b) for k, b in batches.items()}
    output = pretext(features, batches)
    loss, kl = global_reference(pretext, features, batches, fakes)
    assert float(output.metrics["global_loss"]) == pytest.approx(loss, rel=1e-9)
    assert float(output.metrics["global_kl"]) == pytest.approx(kl, rel=1e-9)
    local = output.metrics["local_loss"] + 0.3 * output.metrics["local_kl"]
    assert float(output.loss.detach() - local) == pytest.approx(loss + 0.3 * kl, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fakes", [(), FAKES], ids=str)
def test_critics_that_say_nothing_cost_2_ln_2_each(name, fakes):
    encoder, pretext = doubled(name, fakes=fakes)
    for critic in (pretext.local.atom_critic, pretext.overall.crystal_critic):
        torch.nn.init.zeros_(critic[-1].weight)
        torch.nn.init.zeros_(critic[-1].bias)
    metrics = ask(pretext, encoder, make(encoder, pretext, CRYSTALS)).metrics
    assert float(metrics["local_loss"]) == pytest.approx(2 * math.log(2), rel=1e-12)
    assert float(metrics["global_loss"]) == pytest.approx(2 * math.log(2), rel=1e-12)


def test_the_crystal_itself_is_never_its_partner():
    encoder, pretext = doubled("MEGNet")
    for n in range(1, 6):
        batch = make(encoder, pretext, CRYSTALS[:n])["crystal"]
        others = partners(batch)
        assert sorted(others.tolist()) == list(range(n))
        assert bool((others == torch.arange(n)).any()) == (n == 1)


@pytest.mark.parametrize("name", NAMES)
def test_one_crystal_has_only_fakes_of_its_own(name):
    encoder, pretext = doubled(name, fakes=FAKES)
    for crystal in (nacl(), iron()):
        batches = make(encoder, pretext, [crystal])
        features = {k: encoder(b) for k, b in batches.items()}
        output = pretext(features, batches)
        assert float(output.metrics["local_loss"]) == pytest.approx(
            local_reference(pretext, features["crystal"], batches["crystal"], ALL)[0], rel=1e-9
        )
        assert float(output.metrics["global_loss"]) == pytest.approx(
            global_reference(pretext, features, batches, FAKES)[0], rel=1e-9
        )
        output.loss.backward()
        grads = [p.grad for p in [*encoder.parameters(), *pretext.parameters()] if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads)
        pretext.zero_grad()
    assert float(output.metrics["local_loss"]) == 0  # iron alone: nothing to tell it from


@pytest.mark.parametrize("name", NAMES)
def test_an_atom_without_neighbours_does_no_harm(name):
    encoder, pretext = doubled(name, fakes=FAKES)
    far = Crystal(np.array([26]), np.zeros((1, 3)), 20 * np.eye(3), id="far")
    for crystals in ([nacl(), far], [far, nacl()]):
        output = ask(pretext, encoder, make(encoder, pretext, crystals))
        output.loss.backward()
        assert torch.isfinite(output.loss)
        grads = [p.grad for p in [*encoder.parameters(), *pretext.parameters()] if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads)


def test_fakes_are_never_the_truth():
    encoder, pretext = doubled("MEGNet")
    batch = make(encoder, pretext, CRYSTALS)["crystal"]
    environments = Environments(batch, torch.float64)
    for kind in ("species", "permutation"):
        fake = environments.fake(kind)
        assert (fake.species != environments.true.species)[fake.counts].all()
        assert torch.equal(fake.distance, environments.true.distance)
    geometry = environments.fake("geometry")
    assert torch.equal(geometry.species, environments.true.species)
    assert (geometry.distance != environments.true.distance).double().mean() > 0.9
    # Iron's own species cannot be mixed up.
    own = batch.batch[environments.site] == 1
    assert not environments.fake("permutation").counts[own].any()


@pytest.mark.parametrize("name", NAMES)
def test_the_published_way_teaches_the_atoms_by_the_local_part_and_the_readout_by_the_global(name):
    of_atoms, of_readout = {}, {}
    for training, fakes in (("local", ()), ("greedy", FAKES), ("joint", FAKES)):
        encoder = small_encoder(name).double()
        architecture = encoder.architecture
        torch.manual_seed(0)
        pretext = DeepInfoMax(encoder, training=training, fakes=fakes).double()
        batches = make(encoder, pretext, CRYSTALS)
        for _, batch in batches.items():
            if NORMAL in batch.atom:  # the same noise, with or without numbers for the crystals
                batch.atom[NORMAL] = torch.linspace(-1, 1, batch.atom[NORMAL].numel()).double().reshape(-1, 32)
        ask(pretext, encoder, batches).loss.backward()
        assert all(p.grad is not None for p in pretext.parameters())
        grads = {n: p.grad for n, p in encoder.model.named_parameters() if p.grad is not None}
        n_layers = encoder.n_layers
        of_atoms[training] = {
            n: g for n, g in grads.items() if layer_of_parameter(architecture, n_layers, n) <= n_layers
        }
        of_readout[training] = grads.keys() - of_atoms[training].keys()
    assert not of_readout["local"]
    assert of_readout["greedy"] == of_readout["joint"] != set()
    torch.testing.assert_close(of_atoms["greedy"], of_atoms["local"], rtol=1e-9, atol=1e-12)
    moved = [of_atoms["joint"][n] - g for n, g in of_atoms["local"].items()]
    assert sum(float(g.square().sum()) for g in moved) > 1e-4 * sum(
        float(g.square().sum()) for g in of_atoms["local"].values()
    )


def test_a_sum_over_atoms_has_no_vector_and_the_pretext_makes_one():
    encoder = small_encoder("M3GNet", is_intensive=False).double()
    pretext = DeepInfoMax(encoder, fakes=FAKES).double()
    assert not pretext.trains_readout
    assert not pretext.detached_readout
    ask(pretext, encoder, make(encoder, pretext, CRYSTALS)).loss.backward()
    assert all(p.grad is not None for p in pretext.parameters())


def test_it_is_not_mixed_with_what_teaches_the_atoms_through_the_readout():
    encoder = small_encoder("MEGNet")
    other = build_pretext("crystal-targets", encoder, {"targets": ["density"], "vector": "readout"})
    with pytest.raises(ConfigError, match=r"targets.*training: joint"):
        Mixture({"infomax": DeepInfoMax(encoder), "targets": other}, {"infomax": 1, "targets": 1})
    mixture = Mixture(
        {"infomax": DeepInfoMax(encoder, training="joint"), "targets": other}, {"infomax": 1, "targets": 1}
    )
    assert mixture.trains_readout
    assert not mixture.detached_readout


@pytest.mark.pyg
def test_what_fine_tuning_starts_from_has_the_readout_that_was_trained(tmp_path):
    crystals = CrystalDataset.from_crystals(
        [replace(c, id=str(i), labels={"y": 1.0 * i}) for i, c in enumerate(CRYSTALS)]
    )
    made = pretrain(
        data=crystals,
        recipe="deep-infomax",
        model="MEGNet",
        out=tmp_path / "pre",
        epochs=1,
        batch_size=3,
        accelerator="cpu",
    )
    start = finetune(
        data=crystals, init_from=made.encoder, target="y", out=tmp_path / "fine", epochs=1, lr=1e-12, val_fraction=0.2,
        test_fraction=0.2, accelerator="cpu",
    )  # fmt: skip
    before, after = (torch.load(path / "state.pt", weights_only=True) for path in (made.encoder, start.model))
    pooled = [name for name in before if "s2s" in name and before[name].is_floating_point()]
    assert pooled
    for name in pooled:
        torch.testing.assert_close(
            after[name.removeprefix("model.")] if name not in after else after[name], before[name], rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_local_loss_of_a_supercell_with_another_origin_is_that_of_the_cell(name):
    encoder = small_encoder(name, **({"threebody_cutoff": 5.0} if name == "M3GNet" else {})).double()
    torch.manual_seed(0)
    pretext = DeepInfoMax(encoder, training="local", negatives=("roll", "species", "geometry")).double()
    big = supercell(nacl(), (2, 1, 1))
    shifted = Crystal(big.numbers, big.frac_coords + 0.13, big.lattice)
    losses = []
    for crystal in (nacl(), shifted):
        batches = make(encoder, pretext, [crystal, iron()])
        batches["crystal"].atom[NORMAL].zero_()
        losses.append(float(ask(pretext, encoder, batches).metrics["local_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_learned(name):
    encoder = small_encoder(name).train()
    torch.manual_seed(0)
    pretext = DeepInfoMax(encoder, training="joint")
    batches = {k: b.to("cpu", torch.float32) for k, b in make(encoder, pretext, CRYSTALS).items()}
    optimizer = torch.optim.Adam([*encoder.parameters(), *pretext.parameters()], lr=0.003)
    seen = []
    for _ in range(60):
        optimizer.zero_grad()
        output = ask(pretext, encoder, batches)
        output.loss.backward()
        optimizer.step()
        seen.append(output.metrics)
    for part in ("local", "global"):
        assert float(seen[-1][f"{part}_loss"]) < 0.8 * 2 * math.log(2)
        assert float(seen[-1][f"{part}_accuracy"]) > 0.7


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [{"training": "local"}, {"training": "greedy", "fakes": list(FAKES)}, {"training": "joint", "fakes": ["species"]}],
    ids=lambda a: a["training"],
)
def test_over_two_processes_it_is_the_loss_of_the_joint_batch(model, arguments, tmp_path):
    assert_two_processes_agree(model, {"deep-infomax": arguments}, CRYSTALS, tmp_path)


def test_a_rank_with_one_crystal_finds_its_partner_on_the_other(tmp_path):
    assert_two_processes_agree("MEGNet", {"deep-infomax": {}}, CRYSTALS[:2], tmp_path, first=1)


def test_views_and_options():
    encoder = small_encoder("MEGNet")
    pretext = build_pretext("deep-infomax", encoder, {"fakes": ["permutation", "species"]})
    assert list(pretext.views) == ["crystal", "species", "permutation"]
    assert pretext.views["species"].n_elements == len(ELEMENTS)
    assert list(DeepInfoMax(encoder).views) == ["crystal"]
    with pytest.raises(ConfigError, match="belong to the global part"):
        DeepInfoMax(encoder, training="local", fakes=("species",))


def test_the_critic_is_told_site_nets_eight_properties():
    pretext = DeepInfoMax(small_encoder("MEGNet"))
    table = pretext.local.properties
    assert table.shape == (len(ELEMENTS), 8)
    assert torch.isfinite(table).all()
    iron = standardised_element_table(SPECIES)[26]
    np.testing.assert_allclose(table[ELEMENTS.index("Fe")], iron, rtol=1e-6)
    assert table[ELEMENTS.index("H"), SPECIES.index("density")] == 0  # a gas has no density of its solid
