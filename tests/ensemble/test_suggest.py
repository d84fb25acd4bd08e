"""What to label next: what is not known, and nothing twice."""

from __future__ import annotations

import pytest
from synthetic import cell

import matgl_ssl
from matgl_ssl.cli import main
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError, ModelError

from .conftest import table


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Only chlorides and sulfides are labelled."""
    out = tmp_path_factory.mktemp("fit") / "fit"
    rows = [c for c in table(80, lambda m, x, a: a**3) if set(c.numbers.tolist()) & {16, 17}]
    matgl_ssl.fit(data=CrystalDataset.from_crystals(rows), target="target", out=out, encoders=[], n_folds=3)
    return out, rows


def test_strangers_come_first_and_copies_are_not_taken_twice(fitted):
    out, rows = fitted
    strangers = [cell(92, 53, 3.9), cell(92, 53, 3.9), cell(57, 9, 3.5)]
    pool = CrystalDataset.from_crystals([*rows[:10], *strangers])
    found = matgl_ssl.suggest(model=out, data=pool, n=13)
    assert [each.rank for each in found] == list(range(1, 14))
    names = [each.id for each in found]
    assert set(names[:2]) == {"3.9000", "3.5000"}
    assert found[0].novelty > 1
    assert sum(each.novelty < 1e-6 for each in found) == 11  # ten are labelled, and one is a copy
    assert found == matgl_ssl.suggest(model=out, data=pool, n=13)


def test_the_command_line(fitted, tmp_path, capsys):
    out, rows = fitted
    pool = CrystalDataset.from_crystals([cell(92, 53, 3.9), *rows[:3]]).write_parquet(tmp_path / "pool.parquet")
    assert main(["suggest", "-m", str(out), "--pool", str(pool), "-n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "no labelled crystal has I, U" in lines[0]


def test_what_cannot_be_is_refused(fitted, tmp_path):
    out, rows = fitted
    with pytest.raises(ConfigError, match="-n 0"):
        matgl_ssl.suggest(model=out, data=CrystalDataset.from_crystals(rows), n=0)
    with pytest.raises(ModelError, match="not a directory that mgl-ssl fit wrote"):
        matgl_ssl.suggest(model=tmp_path, data=CrystalDataset.from_crystals(rows))
