"""YAML that people write, and YAML that somebody made to do harm."""

from __future__ import annotations

import pytest

from matgl_ssl.config import plain_yaml, read_yaml
from matgl_ssl.errors import ConfigError

DOUBLED = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))])


def test_anchors_and_merges_are_read():
    text = "base: &base {lr: 0.1, epochs: 3}\nrun: {<<: *base, lr: 0.2}\nparts: [1, 2.5, yes, null]\n"
    assert plain_yaml(text, "here") == {
        "base": {"lr": 0.1, "epochs": 3}, "run": {"lr": 0.2, "epochs": 3}, "parts": [1, 2.5, True, None],
    }  # fmt: skip
    assert plain_yaml("", "here") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 0.1\nlr: 0.2\n", r"the key 'lr' occurs twice.*\n.*line 2"),
        ("pretexts: [{name: a, name: b}]", "the key 'name' occurs twice"),
        ("!!python/object/apply:os.system [touch hacked]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        (DOUBLED, "too large"),
        ("&a [*a]", "too large"),
        ("[" * 50_000, "not YAML or JSON"),
        ("{a: " * 50_000, "not YAML or JSON"),
        ("x: " + "y" * 2_000_000, "too large"),
        ("date: 2026-99-99", "not YAML or JSON"),
        ("a: [1, 2", "not YAML or JSON"),
    ],
    ids=["twice", "twice inside", "call", "name", "doubled", "itself", "deep list", "deep map", "long", "date", "open"],
)  # fmt: skip
def test_what_no_configuration_is(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)run.yaml.*{message}"):
        read_yaml(file)
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]
