"""Fine-tuning a NEGNN: the frozen vectors are computed once, and nothing of the encoder is trained."""

from __future__ import annotations

import json
import math

import pytest
import torch
from small_negnns import output_of, plain, same, weights_of
from small_systems import ELEMENTS, nacl, some_crystals

from matgl_ssl.backends import Potential
from matgl_ssl.cli import main
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.errors import ConfigError, RunDirectoryError
from matgl_ssl.hub import load_model, load_with_stamp, save_model
from matgl_ssl.inference import predict
from matgl_ssl.models import NEGNN, M3GNetNEGNN, MEGNetNEGNN
from matgl_ssl.targets.representation import Representation
from matgl_ssl.training.finetune import finetune


def labelled(n: int = 12) -> CrystalDataset:
    crystals = [c for c in some_crystals() if len(c) > 1]
    strained = [(crystals[i % len(crystals)], 1 + 0.01 * i, i) for i in range(n)]
    return CrystalDataset.from_crystals(
        Crystal(c.numbers, c.frac_coords, scale * c.lattice, id=str(i), labels={"target": scale * len(c)})
        for c, scale, i in strained
    )


OPTIONS = {
    "target": "target", "epochs": 2, "batch_size": 4, "accelerator": "cpu", "test_fraction": 0.25,
    "model": "MEGNet", "model_args": {"nblocks": 1, "dim_node_embedding": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    return save_model(plain("MEGNet"), folder / "encoder", kind="encoder", readout="untrained")


@pytest.fixture(scope="module")
def result(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("negnn")
    return finetune(
        data=labelled(),
        out=folder / "run",
        node_embedding_from=str(encoder),
        node_embedding_layers=[0, 2],
        **OPTIONS,
    )


def test_it_trains_all_but_the_encoder(result, encoder):
    model, stamp = load_with_stamp(result.model)
    assert isinstance(model, MEGNetNEGNN)
    assert (model.represented, model.mode) == ((0, 2), "concat")
    assert same(weights_of(model.frozen), weights_of(load_model(encoder)))
    assert stamp["node_embedding_from"] == "/".join(encoder.parts[-2:])
    assert math.isfinite(result.metrics["mae"])
    start = finetune(
        data=labelled(), out=result.out.parent / "untrained", node_embedding_from=load_model(encoder),
        node_embedding_layers=[0, 2], **{**OPTIONS, "epochs": 0},
    )  # fmt: skip
    untrained = load_model(start.model)
    assert same(weights_of(untrained.frozen), weights_of(model.frozen))
    for name in ("embedding.layer_representation.weight", "embedding.layer_node_embedding.weight"):
        assert not torch.equal(untrained.state_dict()[name], model.state_dict()[name])


def test_what_was_written_down_is_what_it_predicts(result, tmp_path, capsys):
    rows = dict(line.split(",")[::3] for line in (result.out / "predictions.csv").read_text().split()[1:])
    found = predict(model=result.model, data=list(labelled()))
    assert {p.id: p.value for p in found} == pytest.approx({k: float(v) for k, v in rows.items()}, rel=1e-4)
    poscar = tmp_path / "POSCAR"
    labelled()[0].to_structure().to(filename=str(poscar), fmt="poscar")
    assert main(["predict", "-m", str(result.model), "--data", str(poscar), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["value"] == pytest.approx(found[0].value, rel=1e-4)


def test_zero_steps_change_nothing(result, tmp_path):
    again = finetune(
        data=labelled(), out=tmp_path / "again", init_from=str(result.model),
        **{**OPTIONS, "epochs": 0, "model_args": {}},
    )  # fmt: skip
    first, second = load_model(result.model), load_model(again.model)
    assert same(weights_of(first), weights_of(second))
    assert torch.equal(output_of(first), output_of(second))


def test_going_on_with_one_keeps_its_encoder(result, tmp_path):
    more = finetune(data=labelled(), out=tmp_path / "more", init_from=result.out, **{**OPTIONS, "model_args": {}})
    first, second = load_model(result.model), load_model(more.model)
    assert same(weights_of(first.frozen), weights_of(second.frozen))
    assert not torch.equal(first.embedding.layer_representation.weight, second.embedding.layer_representation.weight)


def test_the_encoder_runs_once_a_crystal(encoder, tmp_path, monkeypatch):
    calls = []
    represent, of_many = NEGNN.represent, Representation.of_many
    monkeypatch.setattr(NEGNN, "represent", lambda *args: (calls.append("represent"), represent(*args))[1])
    monkeypatch.setattr(
        Representation, "of_many", lambda self, crystals: (calls.append(len(crystals)), of_many(self, crystals))[1]
    )
    options = {**OPTIONS, "seed": 4, "epochs": 3, "node_embedding_layers": [0, 1, 2]}
    finetune(data=labelled(11), out=tmp_path / "run", node_embedding_from=load_model(encoder), **options)
    # Sizes and the stamp's reference predictions run a pass; training does not.
    assert calls.count("represent") <= 4
    assert sum(c for c in calls if c != "represent") == 11


def test_an_extensive_target_makes_a_potential(encoder, tmp_path):
    result = finetune(
        data=labelled(), out=tmp_path / "run", node_embedding_from=str(encoder), extensive=True,
        **{**OPTIONS, "model": "M3GNet", "model_args": {"nblocks": 1, "units": 8, "dim_node_embedding": 8}},
    )  # fmt: skip
    model = load_model(result.model)
    assert isinstance(model, Potential)
    assert isinstance(model.model, M3GNetNEGNN)
    assert predict(model=result.model, data=[nacl()])[0].value == pytest.approx(
        float(output_of(model, [nacl()])), rel=1e-5
    )


def test_a_resumed_run_refuses_another_encoder(encoder, tmp_path):
    source = save_model(load_model(encoder), tmp_path / "encoder", kind="encoder", readout="untrained")
    options = {"data": labelled(), "out": tmp_path / "run", "node_embedding_from": str(source), **OPTIONS}
    finetune(**options)
    save_model(plain("MEGNet", seed=5), source, kind="encoder", readout="untrained")
    with pytest.raises(RunDirectoryError, match="frozen encoder"):
        finetune(**{**options, "resume": True})


def test_contradictions_are_refused(encoder, tmp_path):
    run = {"data": labelled(), "out": tmp_path / "run", "node_embedding_from": str(encoder), **OPTIONS}
    for changes, message in (
        ({"init_from": str(encoder)}, "leave out --init-from"),
        ({"node_embedding_layers": [0, 7]}, "No layer 7: .* layers 0, 1, 2, 3"),
        ({"node_embedding_mode": "multiply"}, "node_embedding_mode"),
        ({"model_args": {"cutoff": 6.0}}, r"cutoff must be the encoder's, 4\.5 Å, not 6\.0 Å"),
        ({"model_args": {"element_types": list(ELEMENTS[:-1])}}, "element_types must be the encoder's"),
    ):
        with pytest.raises(ConfigError, match=message):
            finetune(**{**run, **changes})
        assert not (tmp_path / "run").exists()
