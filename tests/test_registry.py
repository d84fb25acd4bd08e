"""What is chosen by name: ours, unknown ones, and those of other installed packages."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_systems import small_encoder

import matgl_ssl
from matgl_ssl import registry
from matgl_ssl.errors import ConfigError
from matgl_ssl.listing import available
from matgl_ssl.pretexts import build_pretext
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.recipes import load_recipe
from matgl_ssl.targets import Target
from matgl_ssl.views import View


@pytest.fixture
def register(monkeypatch):
    """Adds entry points of other packages, for one test."""

    def add(kind: str, **values: str) -> None:
        points = list(importlib.metadata.entry_points(group=f"matgl_ssl.{kind}"))
        for name, value in values.items():
            point = importlib.metadata.EntryPoint(name, value, f"matgl_ssl.{kind}")
            vars(point)["dist"] = SimpleNamespace(name="toys", version="1.2")
            points.append(point)
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == f"matgl_ssl.{kind}" else [])
        registry._points.cache_clear()
        registry.load.cache_clear()

    yield add
    registry._points.cache_clear()
    registry.load.cache_clear()


def test_ours_are_registered_by_entry_points_like_anybodys():
    assert registry.load("pretexts", "masked-atoms") is MaskedAtoms
    assert registry.load("architectures", "MEGNet").cls.__name__ == "MEGNet"
    for kind in registry.KINDS:
        listed = available(kind)
        assert listed
        assert all(each.summary and each.package == f"matgl_ssl {matgl_ssl.__version__}" for each in listed.values())
    folder = Path(matgl_ssl.__file__).parent / "recipes"
    assert registry.names("recipes") == sorted(path.stem for path in folder.glob("*.yaml"))


@pytest.mark.parametrize("kind", ["targets", "views"])
def test_every_class_of_ours_is_registered(kind):
    base = {"targets": Target, "views": View}[kind]
    known = {registry.load(kind, name) for name in registry.names(kind)}
    # What some have in common; composed of others; drawn for one pretext; made of a loaded encoder.
    inner = {"CellTarget", "Compose", "DrawNormal", "Representation", "CrystalVectors"}
    described = {"_Joined", "Descriptors", "Estimates", "AtomStatistics"}  # for learners on tables
    assert {c.__name__ for c in subclasses(base) - known} <= inner | described


def subclasses(cls: type) -> set[type]:
    return {c for sub in cls.__subclasses__() for c in (sub, *subclasses(sub)) if c.__module__.startswith("matgl_ssl.")}


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(ConfigError) as error:
        build_pretext("masked-atom", small_encoder("MEGNet"), {})
    assert "Unknown pretext 'masked-atom'. Did you mean 'masked-atoms'?" in str(error.value)
    assert "derivative-denoising" in str(error.value)


def test_an_unknown_argument_is_answered_with_the_nearest_and_all_arguments():
    with pytest.raises(ConfigError) as error:
        build_pretext("derivative-denoising", small_encoder("MEGNet"), {"sigm": 0.1})
    assert "sigm" in str(error.value)
    assert "Did you mean 'sigma'?" in str(error.value)
    for argument in ("loss", "remove_com", "scale", "sign", "topology"):
        assert argument in str(error.value)


def test_an_argument_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"Pretext 'property-labels': .*'columns'"):
        build_pretext("property-labels", small_encoder("MEGNet"), {})


def test_the_encoder_is_not_an_argument_of_a_recipe():
    with pytest.raises(ConfigError, match="encoder"):
        build_pretext("masked-atoms", small_encoder("MEGNet"), {"encoder": None})


def test_what_cannot_be_used_is_left_out_with_a_warning_that_names_its_package(register):
    register("pretexts", broken="no_such_module_anywhere:Pretext", stranger="collections:OrderedDict")
    with pytest.warns(UserWarning, match="toys") as warned:
        listed = available("pretexts")
    assert "masked-atoms" in listed
    assert not {"broken", "stranger"} & set(listed)
    assert [str(w.message) for w in warned] == [
        "Pretext 'broken' of toys 1.2 cannot be imported: No module named 'no_such_module_anywhere'",
        "Pretext 'stranger' of toys 1.2 is not a Pretext (collections:OrderedDict).",
    ]


def test_a_name_that_two_packages_register_is_nobodys(register):
    register("views", perturb="matgl_ssl.views:Supercell")
    message = f"matgl_ssl {matgl_ssl.__version__} and toys 1.2 both register a view 'perturb': uninstall one of them."
    with pytest.raises(ConfigError, match=message):
        registry.load("views", "perturb")
    with pytest.warns(UserWarning, match=message):
        assert "perturb" not in available("views")


def test_a_recipe_may_be_what_a_function_returns(register):
    register("recipes", mine="test_registry:recipe", lost="no_such_module_anywhere", file="json")
    sys.modules["test_registry"] = SimpleNamespace(recipe=lambda: {"summary": "mine", "lr": 0.5})
    try:
        assert load_recipe("mine") == {"lr": 0.5}
    finally:
        del sys.modules["test_registry"]
    with pytest.raises(ConfigError, match=r"Recipe 'lost' of toys 1\.2 cannot be imported"):
        load_recipe("lost")
    with pytest.raises(ConfigError, match=r"No configuration file .*file\.yaml"):
        load_recipe("file")


def test_nothing_is_imported_before_it_is_asked_for():
    script = (
        "import sys; from matgl_ssl import registry; assert registry.find('pretexts', 'contrast');"
        "assert not {'torch', 'matgl', 'pymatgen', 'matgl_ssl.pretexts'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
