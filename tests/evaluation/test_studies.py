"""The studies under ``benchmarks/``: what they must share, to share encoders and to be compared."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from matgl_ssl.errors import ConfigError
from matgl_ssl.evaluation.config import BenchmarkConfig, read_benchmark
from matgl_ssl.evaluation.pretraining import pretraining_config
from matgl_ssl.recipes import load_recipe

STUDIES = Path(__file__).parents[2] / "benchmarks"


def study(name):
    return BenchmarkConfig.build(read_benchmark(STUDIES / f"{name}.yaml"))


SAME_DATA = [
    "search",
    "leaderboard",
    "wider",
    "scratch",
    "scaling",
    "ablations",
    "label-masking",
    "derivatives",
    "equal-steps",
    "dssl",
    "readout-start",
]


@pytest.mark.parametrize("name", SAME_DATA)
def test_all_studies_have_the_corpus_and_the_tasks_of_the_evidence(name):
    """Their formulas are removed from the corpus: other tasks would be other encoders."""
    evidence, other = study("evidence"), study(name)
    assert (other.tasks, other.corpus, other.leak_rule) == (evidence.tasks, evidence.corpus, evidence.leak_rule)


SAME_ARMS = ["scaling", "ablations", "other-properties"]
OWN_ARMS = ["derivatives", "unrelated", "representations"]  # more encoders, or other labels, than the evidence


@pytest.mark.parametrize("name", [*SAME_ARMS, *OWN_ARMS])
def test_smaller_studies_tune_and_train_as_the_evidence(name):
    evidence, other = study("evidence"), study(name)
    assert (other.grid, other.validation_crystals) == (evidence.grid, evidence.validation_crystals)
    assert other.grids.items() <= evidence.grids.items()
    assert (other.finetune, other.pretrain) == (evidence.finetune, evidence.pretrain)


def test_masked_labels_have_a_part_of_the_grids_of_the_evidence():
    evidence, other = study("evidence"), study("label-masking")
    assert all(point in evidence.grid for point in other.grid)
    assert (other.finetune, other.pretrain, other.validation_crystals) == (
        evidence.finetune, evidence.pretrain, evidence.validation_crystals,
    )  # fmt: skip


@pytest.mark.parametrize("name", SAME_ARMS)
def test_arms_of_one_name_are_the_same(name):
    evidence, other = study("evidence"), study(name)
    shared = [arm for arm in {arm for part in other.rounds for arm in part.arms} if arm in evidence.known_arms()]
    assert {arm: other.known_arms()[arm] for arm in shared} == {arm: evidence.known_arms()[arm] for arm in shared}


def test_published_recipes_have_the_steps_of_textbook():
    equal = study("equal-steps")
    assert (equal.grid, equal.finetune) == (study("evidence").grid, study("evidence").finetune)
    textbook = load_recipe("textbook")
    assert equal.pretrain["batch_size"] == textbook["batch_size"]
    assert not any("epochs" in arm.pretrain or "batch_size" in arm.pretrain for arm in equal.known_arms().values())


def test_dssl_as_published_keeps_what_its_recipe_says_of_the_model():
    made = study("dssl")
    encoder = {"model": "MEGNet", "model_args": {"dim_node_embedding": 64}}
    config = pretraining_config(made.known_arms()["dssl-as-published"], made.pretrain, encoder, "phonons")
    assert config.model_args == {"dropout": 0.3, "dim_node_embedding": 64}
    assert (config.epochs, config.batch_size) == (500, 256)


def test_the_search_is_on_validation():
    assert study("search").part == "validation"


def test_every_choice_of_scratch_is_one_that_was_searched():
    evidence, scratch = study("evidence"), study("scratch")
    assert all(choice in scratch.grid for choice in evidence.grid)


def test_the_estimates_are_compared_with_tasks_of_the_search(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    targets = import_module("textbook_targets")
    assert targets.ESTIMATES.keys() <= study("search").tasks.keys()


def test_a_study_has_the_data_of_another_file_where_it_has_none_itself(tmp_path):
    (tmp_path / "first.yaml").write_text("corpus: {data: a}\nleak_rule: none\ntasks: {}\ngrid: [{lr: 1}]\n")
    (tmp_path / "second.yaml").write_text("data_of: first.yaml\nleak_rule: formula\n")
    (tmp_path / "third.yaml").write_text("data_of: second.yaml\nrounds: []\n")
    expected = {"corpus": {"data": "a"}, "tasks": {}, "leak_rule": "formula", "rounds": []}
    assert read_benchmark(tmp_path / "third.yaml") == expected
    (tmp_path / "first.yaml").unlink()
    with pytest.raises(ConfigError, match=r"No configuration file .*first\.yaml"):
        read_benchmark(tmp_path / "third.yaml")
    for named in ("first", "third"):
        (tmp_path / "first.yaml").write_text(f"data_of: {named}.yaml\n")
        with pytest.raises(ConfigError, match="names itself"):
            read_benchmark(tmp_path / "third.yaml")
