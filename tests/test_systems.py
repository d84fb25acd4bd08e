"""A page for each published system: complete, with a command that runs, and a verdict computed from the scores."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml
from small_systems import SMALL, cscl, iron, nacl, rattled, skewed

from matgl_ssl import cli, list_recipes
from matgl_ssl.crystals import CrystalDataset

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "systems"
REFERENCE = ["computed-targets"]  # no system
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem not in REFERENCE)


def read(page: str) -> str:
    return (FOLDER / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_everything(page):
    text = read(page)
    assert re.search(r"^\*\*What (?:it asks|they ask)\.\*\* ", text, re.MULTILINE)
    assert f"]({page}.svg)" in text
    headings = re.findall(r"^## (.+)", text, re.MULTILINE)
    assert {"Equation", "Run", "Verdict", "Source"} <= set(headings)
    assert {"Deviations", "Limits"} & set(headings)
    assert text.count("$$") >= 2
    assert text.count("$$") % 2 == 0


@pytest.mark.parametrize("page", [*PAGES, *REFERENCE])
def test_the_site_can_draw_its_equations(page):
    convert = pytest.importorskip("latex2mathml.converter").convert
    for equation in re.findall(r"\$\$\n(.+?)\n\$\$|\$([^$\n]+)\$", read(page), re.DOTALL):
        assert "\\" not in convert("".join(equation)), equation


def test_pictures_are_those_that_the_script_draws():
    pictures = runpy.run_path(str(FOLDER / "draw.py"))["PICTURES"]
    assert sorted(picture.__name__.replace("_", "-") for picture in pictures) == PAGES
    assert sorted(path.stem for path in FOLDER.glob("*.svg")) == PAGES


def test_the_script_draws(tmp_path):
    script = runpy.run_path(str(FOLDER / "draw.py"))
    script["draw"](script["dssl"], tmp_path / "dssl.svg")
    assert "element of ?" in (tmp_path / "dssl.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", sorted(list_recipes()))
def test_every_recipe_has_a_page(recipe):
    assert any(f"`{recipe}`" in read(page) or f"--recipe {recipe} " in read(page) for page in PAGES)
    assert f"\n| `{recipe}` |" in (ROOT / "docs" / "pretexts.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the pages' commands run: crystals, and options that keep the models small."""
    folder = tmp_path_factory.mktemp("systems")
    crystals = [rattled((nacl(), cscl(), iron(), skewed())[i % 4], 0.05, seed=i) for i in range(12)]
    CrystalDataset.from_crystals(crystals).write_parquet(folder / "crystals.parquet")
    for name in ("M3GNet", "MEGNet"):
        options = {"model_args": dict(SMALL[name]), "epochs": 1, "batch_size": 4, "accelerator": "cpu"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(options))
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_first_command_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (command, *_) = re.findall(r"^```bash\n(mgl-ssl pretrain .*?)\n```", read(page), re.MULTILINE | re.DOTALL)
    arguments = shlex.split(command.replace("\\\n", " "))[1:]
    model = arguments[arguments.index("--model") + 1]
    assert cli.main([*arguments, "--config", f"{model}.yaml"]) == 0
    assert (folder / arguments[arguments.index("--out") + 1] / "encoder" / "model.json").exists()


def test_verdicts_are_those_of_the_scores():
    claims = runpy.run_path(str(ROOT / "benchmarks" / "claims.py"))
    tables = claims["verdicts"](claims["papers"](claims["CLAIMS"].read_text(encoding="utf-8")))
    for page in PAGES:
        assert claims["with_verdicts"](read(page), tables) == read(page), "python benchmarks/claims.py"


def test_every_paper_has_a_verdict_on_a_page():
    listed = yaml.safe_load((ROOT / "benchmarks" / "claims.yaml").read_text(encoding="utf-8"))
    marked = [name for page in PAGES for name in re.findall(r"<!-- verdict: (.+) -->", read(page))]
    assert sorted(marked) == sorted(paper["paper"] for paper in listed)


def test_a_verdict_is_put_between_its_marks():
    with_verdicts = runpy.run_path(str(ROOT / "benchmarks" / "claims.py"))["with_verdicts"]
    page = "Before\n<!-- verdict: P (2) -->\n{}<!-- /verdict -->\nAfter\n"
    for before in ("", "| old |\n| --- |\n"):
        assert with_verdicts(page.format(before), {"P (2)": "| new |"}) == page.format("| new |\n")
    with pytest.raises(KeyError, match="P"):
        with_verdicts(page.format(""), {"Q": ""})
