"""Labels of another shape, or of no number, are one error; none becomes NaN in silence."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from ase.stress import voigt_6_to_full_3x3_stress
from small_systems import ELEMENTS, nacl, skewed

from matgl_ssl.backends import collate
from matgl_ssl.crystals import read_crystals
from matgl_ssl.crystals.labels import check_labels, doubts, numbers
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.errors import DataError
from matgl_ssl.pretexts import build_pretext

N = len(nacl())
VOIGT = [0.01, 0.02, 0.03, 0.004, 0.005, 0.006]


def rows(path, **columns):
    """A JSONL table of two crystals; a column is a function of the crystal's number."""
    lines = []
    for i in range(2):
        labels = {name: value(i) for name, value in columns.items()}
        lines.append(json.dumps({"material_id": f"m{i}", "structure": nacl().to_structure().as_dict(), **labels}))
    path.write_text("\n".join(lines))
    return read_crystals(path)


def test_six_numbers_of_a_stress_are_in_ases_order(tmp_path):
    crystals = rows(tmp_path / "t.jsonl", stress=lambda i: VOIGT if i else (0.01 * np.eye(3)).tolist())
    check_labels(crystals, ["stress"])
    np.testing.assert_allclose(crystals[0].labels["stress"], 0.01 * np.eye(3))
    np.testing.assert_allclose(crystals[1].labels["stress"], voigt_6_to_full_3x3_stress(VOIGT))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("stress", lambda i: 0.5, "0.5; expected: 9"),
        ("stress", lambda i: [1.0, 2.0], "2 numbers; expected: 9"),
        ("forces", lambda i: [[0.0, 0, 0]] * (N - i), "'m1' is 21 numbers; expected: 24"),
        ("forces", lambda i: "none", "'none'; expected: numbers"),
        ("energy", lambda i: "-20.5", "'-20.5'; expected: numbers"),
        ("energy", lambda i: True, "True; expected: numbers"),
        ("energy", lambda i: [1.0], "1 numbers; expected: one number"),
        ("x", lambda i: [1.0] * (i + 1), "'m1' is 2 numbers; expected: 1"),
        ("atom:x", lambda i: [1.0] * (N + i), "'m1' is 9 numbers; expected: 8"),
    ],
)
def test_labels_of_another_shape_are_one_error(tmp_path, name, value, said):
    with pytest.raises(DataError, match=f"column '{name}' of material_id .*{said}"):
        check_labels(rows(tmp_path / "t.jsonl", **{name: value}), [name])


def test_what_is_right_passes(tmp_path):
    good = {
        "energy": lambda i: -1.5 - i,
        "forces": lambda i: [[0.1, 0, 0]] * N,
        "stress": lambda i: None if i else VOIGT,
        "atom:x": lambda i: [1.0] * 2 * N,
        "x": lambda i: i,
    }
    check_labels(rows(tmp_path / "t.jsonl", **good), list(good))


@pytest.mark.parametrize(("value", "ok"), [(1.5, True), (True, True), (None, True), ("x", False), ([1.0, 2.0], False)])
def test_a_column_of_numbers(tmp_path, value, ok):
    crystals = rows(tmp_path / "t.jsonl", x=lambda i: value)
    if ok:
        expected = np.full(2, np.nan if value is None else float(value))
        np.testing.assert_array_equal(numbers(crystals, "x"), expected)
    else:
        with pytest.raises(DataError, match=r"column 'x' of material_id 'm0'.*expected: one number"):
            numbers(crystals, "x")


@pytest.mark.parametrize("value", ["x", [1.0, 2.0]])
def test_property_labels_of_text_or_lists(tmp_path, value, encoder):
    pretext = build_pretext("property-labels", encoder, {"columns": {"x": "value"}})
    with pytest.raises(DataError, match=r"column 'x'.*one number"):
        pretext.prepare(rows(tmp_path / "t.jsonl", x=lambda i: value))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("name", "values"),
    [("stress", (np.eye(3), np.zeros(6))), ("x", (np.zeros(2), 1.0)), ("forces", (np.zeros((N, 3)), np.zeros((1, 3))))],
)
def test_a_batch_does_not_make_nan_of_another_shape(name, values, order):
    build = GraphBuilder(ELEMENTS, 4.5)
    graphs = [dataclasses.replace(build(nacl()), id=f"c{i}", labels={name: values[i]}) for i in order]
    with pytest.raises(DataError, match=f"Label '{name}' of 'c"):
        collate(graphs)


def test_a_batch_has_nan_where_there_is_no_label():
    build = GraphBuilder(ELEMENTS, 4.5)
    labels = ({"stress": None, "forces": None}, {"stress": np.eye(3), "forces": np.ones((len(skewed()), 3))})
    batch = collate(
        [dataclasses.replace(build(c), labels=one) for c, one in zip((nacl(), skewed()), labels, strict=True)]
    )
    assert batch.labels["stress"].shape == (2, 3, 3)
    assert batch.labels["stress"][0].isnan().all()
    assert batch.atom["forces"].isnan().all(1).tolist() == [True] * len(nacl()) + [False] * len(skewed())


@pytest.fixture
def encoder():
    from small_systems import small_encoder

    return small_encoder("MEGNet")


def test_a_force_that_is_no_number_is_told(tmp_path):
    forces = [[0.1, 0, 0]] * N
    fine = rows(tmp_path / "t.jsonl", stress=lambda _: (0.01 * np.eye(3)).tolist(), forces=lambda _: forces)
    assert doubts(fine, ["forces", "stress"]) == []
    odd = rows(tmp_path / "t.jsonl", forces=lambda i: [[float("nan"), 0, 0], *forces[1:]] if i else forces)  # fmt: skip
    assert doubts(odd, ["forces"]) == ["1 of 2 crystals have forces that are no numbers: those do not count."]
    assert doubts(odd, ["gap"]) == []


def test_one_force_that_is_no_number_leaves_the_unit_of_the_model(tmp_path, encoder):
    forces = [[5.0, -5.0, 5.0]] * N
    crystals = rows(tmp_path / "t.jsonl", energy=float, stress=lambda _: VOIGT,
                    forces=lambda i: [[float("nan"), 5.0, 5.0], *forces[1:]] if i else forces)  # fmt: skip
    pretext = build_pretext("energy-force-stress", encoder, {})
    pretext.prepare(crystals)
    assert float(pretext.scale) == pytest.approx(5.0)
