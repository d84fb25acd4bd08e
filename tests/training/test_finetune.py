"""Fine-tuning: what is trained, what stays as it was, and in which unit the exported model speaks."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_systems import EXTENSIVE, NAMES, SMALL, supercell
from torch import nn

from matgl_ssl.acceleration import decelerate
from matgl_ssl.backends import Potential, collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.demo import EMT_METALS, demo_task
from matgl_ssl.encoders import Encoder, bare_model, layer_of_parameter
from matgl_ssl.hub import load_model, load_with_stamp, model_output, new_model, read_stamp, save_model
from matgl_ssl.training import finetune as finetune_module
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.finetune import FinetuneResult, FinetuningModule, finetune
from matgl_ssl.training.target import Standardisation

READOUTS = ("set2set", "weighted_atom", "reduce_atom")
MODELS = [
    *(("M3GNet", {"readout_type": readout}) for readout in READOUTS),
    *((name, {}) for name in NAMES if name != "M3GNet"),
]
TARGET = "energy_per_atom"


@pytest.fixture(scope="module")
def task() -> CrystalDataset:
    """40 labelled alloys of at most 8 atoms, with a column of two folds."""
    small = [c for c in demo_task(80, seed=5) if len(c) <= 8][:40]
    return CrystalDataset.from_crystals(
        dataclasses.replace(c, labels={**c.labels, "fold": int(i >= 30)}) for i, c in enumerate(small)
    )


def arguments(name: str, **changes: Any) -> dict[str, Any]:
    two_layers = {"nblocks": 1 if name == "TensorNet" else 2}
    return {**SMALL[name], **two_layers, "element_types": EMT_METALS, **changes}


def small(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return new_model(name, arguments(name, **changes)).eval()


def run(task: CrystalDataset, out: Path, **options: Any) -> FinetuneResult:
    """Fine-tune for a step or two: 27 crystals to train on, 3 to validate, 10 to test."""
    start = {} if "init_from" in options else {"model": "MEGNet", "model_args": arguments("MEGNet")}
    if options.get("model") == "M3GNet" and "model_args" not in options:
        start["model_args"] = arguments("M3GNet")
    defaults = {
        "target": TARGET,
        "split_column": "fold",
        "fold": 1,
        "epochs": 1,
        "batch_size": 16,
        "accelerator": "cpu",
        "val_fraction": 0.1,
    }
    return finetune(data=task, out=out, **{**defaults, **start, **options})


def states_equal(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def output(model: nn.Module, crystals: Any) -> torch.Tensor:
    build = Encoder(model).graph_builder()
    return model_output(model, collate([build(c) for c in crystals]))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def stamp(path: Path) -> dict[str, Any]:
    return json.loads((path / "model.json").read_text())["metadata"]["matgl_ssl"]


class TestZeroSteps:
    """Fine-tuning for no step predicts exactly what the model predicted."""

    @pytest.mark.parametrize(("name", "changes"), MODELS)
    def test_an_intensive_model_comes_out_bit_for_bit(self, task, tmp_path, name, changes):
        model = small(name, **changes)
        result = run(task, tmp_path / "run", init_from=model, epochs=0)
        exported = load_model(result.model)
        assert states_equal(exported, model)
        assert torch.equal(output(decelerate(exported), task), output(model, task))

    @pytest.mark.parametrize("name", EXTENSIVE)
    def test_a_potential_comes_out_bit_for_bit_with_its_references(self, task, tmp_path, name):
        potential = Potential(small(name, is_intensive=False), element_refs=torch.linspace(-3.3, 2.1, len(EMT_METALS)))
        result = run(task, tmp_path / "run", init_from=potential.eval(), target="energy", extensive=True, epochs=0)
        exported = load_model(result.model)
        assert isinstance(exported, Potential)
        assert states_equal(exported, potential)
        assert torch.equal(output(decelerate(exported), task), output(potential, task))

    def test_a_log_model_stays_in_log_units(self, task, tmp_path):
        options = {"target": "bulk_modulus", "transform": "log10"}
        first = run(task, tmp_path / "first", **options)
        second = run(task, tmp_path / "second", init_from=str(first.out), epochs=0, **options)
        models = [load_model(result.model) for result in (first, second)]
        assert states_equal(*models)
        assert stamp(second.model)["target"]["transform"] == "log10"
        assert (second.out / "predictions.csv").read_text() == (first.out / "predictions.csv").read_text()


class TestStandardisation:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("M3GNet", {}),
            ("MEGNet", {}),
            ("MEGNet", {"target": "bulk_modulus", "transform": "log10"}),
            ("M3GNet", {"target": "energy", "extensive": True}),
        ],
    )
    def test_it_is_folded_into_the_exported_model(self, task, tmp_path, monkeypatch, name, options):
        modules = []
        fit = finetune_module.fit
        monkeypatch.setattr(finetune_module, "fit", lambda task_, *a: (modules.append(task_.module), fit(task_, *a)))
        result = run(task, tmp_path / "run", model=name, **options)
        exported = load_model(result.model)
        standardisation = modules[0].standardisation
        assert standardisation.scale != 1.0
        trained = output(modules[0].encoder.model.eval(), task).double()
        expected = standardisation.scale * trained + standardisation.shift
        torch.testing.assert_close(output(bare_model(exported), task).double(), expected, rtol=1e-6, atol=1e-6)
        if options.get("extensive"):
            fitted = standardisation.references.float()
            assert torch.equal(exported.element_refs.property_offset, fitted)

    @pytest.mark.parametrize(
        "options", [{}, {"model": "M3GNet", "target": "energy", "extensive": True}], ids=["intensive", "extensive"]
    )
    def test_it_is_fitted_on_the_training_labels_only(self, task, tmp_path, options):
        name = options.get("target", TARGET)
        train = {i for i, row in enumerate(rows(run(task, tmp_path / "a", **options).out / "predictions.csv"))
                 if row["split"] == "train"}  # fmt: skip
        assert len(train) == 27
        ids = [r["id"] for r in rows(tmp_path / "a" / "predictions.csv") if r["split"] == "train"]
        changed = CrystalDataset.from_crystals(
            c if c.id in ids else dataclasses.replace(c, labels={**c.labels, name: 1e3 - 7 * c.labels[name]})
            for c in task
        )
        result = run(changed, tmp_path / "b", **options)
        first, second = (load_model(tmp_path / out / "model") for out in ("a", "b"))
        assert states_equal(first, second)
        assert result.metrics["mae"] > 100


class TestWhatIsTrained:
    @pytest.mark.parametrize("name", NAMES)
    def test_frozen_layers_are_bitwise_equal_after_five_steps(self, task, tmp_path, name):
        model = small(name)
        path = save_model(model, tmp_path / "encoder", kind="encoder", readout="untrained")
        result = run(task, tmp_path / "run", init_from=str(path), freeze=1, batch_size=6, lr=0.01)
        assert rows(result.out / "metrics.csv")[-1]["step"] == "5"
        exported = load_model(result.model)
        encoder = Encoder(model)
        changed: dict[int, bool] = dict.fromkeys(range(4), False)
        parameters = dict(model.named_parameters())
        for key, value in exported.state_dict().items():
            layer = layer_of_parameter(encoder.architecture, encoder.n_layers, key)
            if layer <= 1 or key not in parameters:
                assert torch.equal(value, model.state_dict()[key]), key
            changed[layer] |= not torch.equal(value, model.state_dict()[key])
        assert changed == {0: False, 1: False, 2: True, 3: True}

    @pytest.mark.parametrize("name", NAMES)
    def test_layers_learn_at_the_rates_asked_for(self, name):
        config = FinetuneConfig.build({"target": TARGET, "lr": 0.01, "layer_decay": 0.5, "freeze": 0})
        module = FinetuningModule(Encoder(small(name)), Standardisation(1.0), config, total_steps=10)
        groups = list(module.parameter_groups())
        assert [group["factor"] for group in groups] == [0.125, 0.25, 0.5, 1.0]
        assert [bool(group["params"]) for group in groups] == [False, True, True, True]
        optimizer = module.configure_optimizers()["optimizer"]
        assert [group["initial_lr"] for group in optimizer.param_groups] == [0.0025, 0.005, 0.01]
        trained = {id(p) for group in groups for p in group["params"]}
        expected = {id(p) for key, p in module.encoder.model.named_parameters() if p.requires_grad}
        assert trained == expected
        assert id(module.encoder.mask_token) not in trained

    def test_what_matgl_keeps_fixed_stays_fixed(self):
        module = FinetuningModule(
            Encoder(small("MEGNet")), Standardisation(1.0), FinetuneConfig.build({"target": TARGET}), total_steps=10
        )
        fixed = [name for name, p in module.encoder.model.named_parameters() if not p.requires_grad]
        assert fixed == ["bond_expansion.rbf.centers"]

    def test_a_model_instance_is_not_changed(self, task, tmp_path):
        model = small("M3GNet").train()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        keys = set(model.__dict__), set(model.graph_layers[0].conv.__dict__)
        result = run(task, tmp_path / "run", init_from=model, lr=0.01)
        assert all(torch.equal(value, before[k]) for k, value in model.state_dict().items())
        assert (set(model.__dict__), set(model.graph_layers[0].conv.__dict__)) == keys
        assert model.training
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert not states_equal(load_model(result.model), model)

    def test_dropout_is_gone_from_the_export(self, task, tmp_path):
        options = {"model_args": arguments("MEGNet", dropout=0.3)}
        path = run(task, tmp_path / "run", **options).model
        import matgl

        exported = matgl.load_model(path)
        assert exported.training
        assert not exported._init_args["dropout"]
        assert all(module.p == 0 for module in exported.modules() if isinstance(module, nn.Dropout))
        assert torch.equal(output(exported, task), output(exported, task))


class TestBudget:
    def test_patience_stops_early(self, task, tmp_path):
        result = run(task, tmp_path / "run", epochs=50, patience=2, lr=1e-12)  # nothing moves: nothing gets better
        epochs = [row["epoch"] for row in rows(result.out / "metrics.csv") if row["epoch"]]
        assert epochs == ["0", "1", "2"]

    def test_selection_best_exports_the_best_weights_on_validation(self, task, tmp_path):
        # Validation labels turned round: what is learned makes them worse, so that the last epoch is not the best one.
        mean = task.column(TARGET).mean()
        reverse = [dataclasses.replace(c, labels={TARGET: 2 * mean - c.labels[TARGET]}) for c in task.rows(range(10))]
        options = {"epochs": 6, "lr": 0.03, "val_data": reverse}
        best, last = (run(task, tmp_path / kind, selection=kind, **options) for kind in ("best", "last"))
        history = [float(row["val_mae"]) for row in rows(best.out / "metrics.csv") if row["val_mae"]]
        found = {r.out.name: json.loads((r.out / "metrics.json").read_text())["val"]["mae"] for r in (best, last)}
        assert min(history) < history[-1]
        assert found == pytest.approx({"best": min(history), "last": history[-1]}, rel=1e-4)

    def test_n_train_reveals_so_many_labels(self, task, tmp_path):
        result = run(task, tmp_path / "run", n_train=12, val_fraction=0.25)
        counts = {name: part["n"] for name, part in json.loads((result.out / "metrics.json").read_text()).items()}
        assert counts == {"train": 9, "val": 3, "test": 10}
        assert stamp(result.model)["n_labels"] == 9

    def test_every_label_is_trained_on_unless_something_is_decided_by_some(self, task, tmp_path):
        options = {"target": TARGET, "model": "MEGNet", "model_args": arguments("MEGNet"), "epochs": 0, "fold": 1,
                   "n_train": 10, "split_column": "fold", "accelerator": "cpu"}  # fmt: skip
        for name, more, expected in (("all", {}, 10), ("best", {"selection": "best"}, 9), ("few", {"patience": 2}, 9)):
            result = finetune(data=task, out=tmp_path / name, **options, **more)
            assert json.loads((result.out / "metrics.json").read_text())["train"]["n"] == expected

    def test_scratch_and_pretrained_arms_of_a_seed_see_the_same_crystals(self, task, tmp_path):
        path = save_model(small("MEGNet"), tmp_path / "encoder", kind="encoder", readout="untrained")
        options = {
            "split_column": None,
            "test_fraction": 0.3,
            "val_fraction": 0.2,
            "n_train": 15,
            "seed": 7,
            "epochs": 0,
        }
        arms = [run(task, tmp_path / "a", **options), run(task, tmp_path / "b", init_from=str(path), **options)]
        parts = [[(r["id"], r["split"]) for r in rows(arm.out / "predictions.csv")] for arm in arms]
        assert parts[0] == parts[1]
        assert [stamp(arm.model)["init_from"] for arm in arms] == ["scratch", "/".join(path.parts[-2:])]

    def test_validation_and_test_crystals_from_elsewhere(self, task, tmp_path):
        table = task.select(range(35, 40)).write_parquet(tmp_path / "test.parquet")
        options = {"split_column": None, "test_data": str(table), "val_data": list(task.rows(range(30, 35)))}
        result = run(task.select(range(20)), tmp_path / "run", **options)
        parts = {p: [r["id"] for r in rows(result.out / "predictions.csv") if r["split"] == p]
                 for p in ("train", "val", "test")}  # fmt: skip
        assert parts == {"train": task.ids[:20], "val": task.ids[30:35], "test": task.ids[35:]}


class TestTargets:
    def test_a_log_target_is_log_in_plain_matgl_and_itself_in_ours(self, task, tmp_path):
        from matgl_ssl import predict

        result = run(task, tmp_path / "run", target="bulk_modulus", transform="log10", epochs=3)
        assert stamp(result.model)["target"] == {
            "name": "bulk_modulus", "unit": "GPa", "transform": "log10", "extensive": False
        }  # fmt: skip
        plain = 10 ** output(load_model(result.model), task).double().numpy()
        ours = [p.value for p in predict(model=result.out, data=task)]
        np.testing.assert_allclose(ours, plain, rtol=1e-6)
        table = {r["id"]: float(r["prediction"]) for r in rows(result.out / "predictions.csv")}
        np.testing.assert_allclose([table[i] for i in task.ids], plain, rtol=1e-6)
        labels = task.column("bulk_modulus")
        assert np.abs(np.log10(np.median(ours) / np.median(labels))) < 0.5

    def test_an_extensive_target_makes_a_potential_that_scales_with_the_cell(self, tmp_path):
        task = demo_task(60, seed=2)
        # With a shorter three-body cutoff MatGL 2's M3GNet takes wrong bonds, and others in a supercell.
        result = run(
            task, tmp_path / "run", model="M3GNet", target="energy", extensive=True, split_column=None, fold=0,
            test_fraction=0.25, val_fraction=0.0, epochs=12, batch_size=8, lr=0.01,
            model_args=arguments("M3GNet", cutoff=4.0, threebody_cutoff=4.0),
        )  # fmt: skip
        assert result.metrics["mae"] < result.metrics["mad"]
        potential, facts = load_with_stamp(result.model)
        assert isinstance(potential, Potential)
        assert facts["target"] == {"name": "energy", "unit": "eV", "transform": None, "extensive": True}
        train = {r["id"] for r in rows(result.out / "predictions.csv") if r["split"] == "train"}
        crystals = [c for c in task if c.id in train]
        counts = np.array([[c.symbols.count(symbol) for symbol in EMT_METALS] for c in crystals])
        energies = np.array([c.labels["energy"] for c in crystals])
        fitted = np.linalg.lstsq(counts, energies, rcond=None)[0]
        np.testing.assert_allclose(potential.element_refs.property_offset.numpy(), fitted, rtol=1e-5)
        cells = crystals[:5]
        doubled = [supercell(c, (1, 1, 2)) for c in cells]
        # The sums cancel to a fraction of an eV out of terms of several: float32 leaves 1e-4.
        torch.testing.assert_close(output(potential, doubled), 2 * output(potential, cells), rtol=1e-5, atol=1e-4)

    def test_crystals_without_the_label_are_left_out(self, task, tmp_path, caplog):
        some = CrystalDataset.from_crystals(
            dataclasses.replace(c, labels={**c.labels, TARGET: (None, float("nan"))[i % 2]}) if i < 4 else c
            for i, c in enumerate(task)
        )
        result = run(some, tmp_path / "run", epochs=0)
        assert sorted(r["id"] for r in rows(result.out / "predictions.csv")) == sorted(task.ids[4:])
        assert f"4 of 40 crystals are left out: 4 unlabelled; for example no value of {TARGET}" in caplog.text
        found = json.loads((result.out / "skipped.json").read_text())["findings"]["unlabelled"]
        assert (found["ids"], found["reasons"]) == (task.ids[:4], [f"no value of {TARGET}"])

    def test_elements_that_only_test_crystals_have_are_told(self, task, tmp_path, caplog):
        rare = task[0].numbers[0]
        apart = CrystalDataset.from_crystals(
            dataclasses.replace(c, labels={**c.labels, "fold": int(rare in c.numbers)}) for c in task
        )
        result = run(apart, tmp_path / "run", epochs=0)
        assert f"never trained on ({task[0].symbols[0]})" in caplog.text
        assert task[0].symbols[0] not in read_stamp(result.model)["elements"]

    def test_crystals_the_model_cannot_be_trusted_with_are_left_out_and_listed(self, task, tmp_path, caplog):
        bad = [dataclasses.replace(c, frac_coords=c.frac_coords * np.nan, id=f"bad{c.id}") for c in task.rows([0, 35])]
        result = run(CrystalDataset.from_crystals([*task, *bad]), tmp_path / "run", epochs=0)
        found = json.loads((result.out / "skipped.json").read_text())["findings"]["non-finite"]
        assert (found["count"], found["ids"]) == (2, [c.id for c in bad])
        assert all("NaN or infinity" in reason for reason in found["reasons"])
        assert "2 of 42 crystals are left out: 2 non-finite" in caplog.text
        assert len(rows(result.out / "predictions.csv")) == 40

    def test_integers_and_truth_values_are_labels_too(self, task, tmp_path):
        whole = CrystalDataset.from_crystals(
            Crystal(c.numbers, c.frac_coords, c.lattice, id=c.id, labels={"stable": i % 3 == 0, "fold": int(i > 29)})
            for i, c in enumerate(task)
        )
        assert run(whole, tmp_path / "run", target="stable").metrics["mad"] > 0
