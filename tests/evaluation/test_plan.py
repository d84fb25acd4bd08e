"""What a unit's name depends on, and what is done again."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
from small_systems import small_model
from synthetic import cell, corpus_and_task, study, write

from matgl_ssl.crystals import read_crystals
from matgl_ssl.errors import ConfigError, NonFiniteError
from matgl_ssl.evaluation.config import BenchmarkConfig
from matgl_ssl.evaluation.plan import Plan
from matgl_ssl.evaluation.runner import Runner, best
from matgl_ssl.evaluation.store import Store
from matgl_ssl.hub import new_model, save_model


@pytest.fixture
def root(tmp_path):
    corpus_and_task(tmp_path)
    return tmp_path


def plan(root, **changes):
    rounds = [{"tasks": ["size"], "arms": ["helps"], "labels": [16], "seeds": [0]}]
    config = BenchmarkConfig.build(study(root, **{"rounds": rounds, **changes}))
    return Plan(Runner(config, root, root / "pretrained"), Store(root / "units"))


def names(plan):
    return [cell.unit.name for cell in plan.cells]


def test_other_content_is_another_unit_also_within_one_process(root):
    before = names(plan(root))
    assert names(plan(root)) == before
    write(root / "task.parquet", [cell(11, 17, 3 + 0.1 * i, size=float(i)) for i in range(30)])
    assert names(plan(root)) != before


def test_a_folder_is_known_by_what_is_in_it(root):
    """A crystal more is another task, wherever the folder lies."""
    crystals = list(read_crystals(root / "task.parquet"))
    tasks = {"size": {"data": "folder", "target": "size"}}
    write(root / "folder" / "a.parquet", crystals[:60])
    before = names(plan(root, tasks=tasks))
    assert names(plan(root, tasks=tasks)) == before
    write(root / "folder" / "b.parquet", crystals[60:])
    assert names(plan(root, tasks=tasks)) != before


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda folder: (folder / "state.pt").write_bytes(b"")])
def test_an_encoder_that_is_gone_or_damaged_is_made_again(root, damage):
    made = plan(root)
    (unit,) = (unit for unit in made.units({}) if unit.kind == "pretraining")
    folder = root / "pretrained" / "somewhere" / "encoder"
    save_model(small_model("MEGNet"), folder, kind="encoder", readout="untrained")
    made.store.keep(unit, {"folder": "somewhere", "weights": "encoder"}, 1.0)
    made.units({})
    assert made.store.get(unit)
    damage(folder)
    assert unit in made.units({})
    assert made.store.get(unit) is None


def test_seeds_of_cells_share_as_many_encoders_as_the_arm_pretrains(root):
    rounds = [{"tasks": ["size"], "arms": ["helps"], "labels": [16], "seeds": [0, 1, 2]}]
    arms = study(root)["arms"]
    once = plan(root, rounds=rounds)
    twice = plan(root, rounds=rounds, arms={**arms, "helps": {**arms["helps"], "pretrainings": 2}})
    encoders = [next(need for need in cell.unit.needs if need.kind == "pretraining") for cell in twice.cells]
    assert encoders[0] is encoders[2] is not encoders[1]
    assert [encoder.facts["options"].get("seed") for encoder in encoders[:2]] == [None, 1]
    assert [found == other for found, other in zip(names(once), names(twice), strict=True)] == [True, False, True]


def test_a_probe_has_nothing_of_the_grid(root):
    rounds = [{"tasks": ["size"], "arms": ["scratch"], "labels": [16], "seeds": [0], "method": "ridge"}]
    grids = [{}], [{"min_distance": 3.0}]
    results = [[c.unit.run() for c in plan(root, rounds=rounds, grid=grid).cells] for grid in grids]
    assert results[0] == results[1]


def test_predictions_that_are_not_finite_are_no_score(root, monkeypatch):
    """The last step of a training may be the one that diverges."""
    monkeypatch.setattr("matgl_ssl.evaluation.runner.fine_tune", lambda *args: None)
    monkeypatch.setattr("matgl_ssl.evaluation.runner.predict_rows", lambda _, __, rows, ___: np.full(len(rows), np.nan))
    runner = plan(root).runner
    settings = runner.settings("MEGNet", "scratch", 0)
    assert runner.trial("size", settings, 16, 0) == {"mae": math.inf}
    with pytest.raises(NonFiniteError, match="smaller"):
        runner.cell("size", "scratch", 16, 0, 0, method="fine-tune", settings=settings)


def test_options_are_chosen_on_labels_that_the_fold_does_not_test_on(root, monkeypatch):
    rounds = [{"tasks": ["size"], "arms": ["scratch"], "labels": ["all"], "seeds": [0], "folds": [0, 1]}]
    made = plan(root, rounds=rounds, grid=[{"lr": 0.01}, {"lr": 0.1}])
    task, seen = made.runner.task("size"), []

    def transfer(self, task, settings, train, test):
        seen.extend([*train, *test])
        return np.zeros(len(test))

    monkeypatch.setattr(Runner, "_transfer", transfer)
    for planned in made.cells:
        assert len(planned.unit.needs) == 2
        for trial in planned.unit.needs:
            assert trial.where["fold"] == planned.fold
            trial.run()
        assert not set(seen) & set(task.test_rows(planned.fold))
        seen.clear()


def test_options_that_all_diverge_are_chosen_by_nobody():
    assert best([({"lr": 1.0}, math.inf), ({"lr": 0.1}, 2.0)]) == {"lr": 0.1}
    with pytest.raises(NonFiniteError, match="smaller learning rate"):
        best([({"lr": 1.0}, math.inf)])


PROBED = {
    "shallow": {"encoder_of": "helps", "layers": [0]},
    "summed": {"encoder_of": "helps", "reduce": "sum"},
    "untrained": {"layers": [0, 1]},
    "fractions": {"described_by": "composition"},
    "manual": {"described_by": "descriptors"},
}


def probed(root, **changes):
    rounds = [{"tasks": ["size"], "arms": ["scratch", *PROBED], "labels": [40], "seeds": [0], "method": "ridge"}]
    return plan(root, arms={**study(root)["arms"], **PROBED}, **{"rounds": rounds, **changes})


def test_probes_take_the_vectors_that_an_arm_says(root):
    """Of which only manual descriptors know for sure how large a cell is, and elements alone cannot."""
    made = probed(root)
    units = {cell.arm: cell.unit for cell in made.cells}
    assert len({unit.name for unit in units.values()}) == len(units)
    assert {arm for arm, unit in units.items() if unit.needs} == {"shallow", "summed"}
    folder = root / "pretrained" / "somewhere" / "encoder"
    save_model(new_model("MEGNet", study(root)["encoders"]["MEGNet"]), folder, kind="encoder", readout="untrained")
    made.store.keep(units["shallow"].needs[0], {"folder": "somewhere", "weights": "encoder"}, 1.0)
    errors = {arm: unit.run()["mae"] for arm, unit in units.items()}
    assert errors["manual"] < min(errors["fractions"], errors["shallow"]) / 100
    assert len(set(errors.values())) == len(errors)
    sizes = {key[-1]: len(next(iter(known.values()))) for key, known in made.runner._vectors.items()}
    assert sizes["{'layers': [0, 1]}"] == 2 * sizes["{'layers': [0]}"]


def test_what_a_probe_takes_is_for_probes(root):
    rounds = [{"tasks": ["size"], "arms": ["shallow"], "labels": [16]}]
    with pytest.raises(ConfigError, match="shallow says what a probe takes"):
        probed(root, rounds=rounds)
    with pytest.raises(ConfigError, match="other has no encoder"):
        plan(root, arms={**study(root)["arms"], "other": {"recipe": "dssl", "described_by": "composition"}})
    with pytest.raises(ConfigError, match="'composition', 'descriptors'"):
        plan(root, arms={**study(root)["arms"], "other": {"described_by": "colour"}})
