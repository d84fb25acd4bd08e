"""The studies under ``benchmarks/``: what they must share, to share encoders and to be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from matgl_ssl.evaluation.config import BenchmarkConfig
from matgl_ssl.training.config import read_yaml

STUDIES = Path(__file__).parents[2] / "benchmarks"


def study(name):
    return BenchmarkConfig.build(read_yaml(STUDIES / f"{name}.yaml"))


@pytest.mark.parametrize("name", ["search", "leaderboard"])
def test_studies_that_pretrain_have_the_corpus_and_the_tasks_of_the_evidence(name):
    """Their formulas are removed from the corpus: other tasks would be other encoders."""
    evidence, other = study("evidence"), study(name)
    assert (other.tasks, other.corpus, other.leak_rule) == (evidence.tasks, evidence.corpus, evidence.leak_rule)


def test_the_search_is_on_validation():
    assert study("search").part == "validation"


@pytest.mark.parametrize("name", ["search", "scratch"])
def test_every_search_is_of_tasks_of_the_evidence(name):
    known = study("evidence").tasks
    assert all(known[task] == spec for task, spec in study(name).tasks.items())


def test_every_choice_of_scratch_is_one_that_was_searched():
    evidence, scratch = study("evidence"), study("scratch")
    assert all(choice in scratch.grid for choice in evidence.grid)
