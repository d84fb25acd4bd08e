"""Reports of real runs, opened in a browser as a reader would: on a phone and on a screen."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import prose
import pytest
import yaml
from small_systems import SMALL
from synthetic import cell, corpus_and_task, study

import matgl_ssl
from matgl_ssl.cli import main
from matgl_ssl.crystals import CrystalDataset, demo_corpus
from matgl_ssl.ensemble.members import tabular
from matgl_ssl.formats import signed
from matgl_ssl.reporting import embedding, verb
from matgl_ssl.reporting.crystals import read_kept
from matgl_ssl.reporting.runs import Run

SMALL_MEGNET = {**{k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}, "nblocks": 1}
HAS_UMAP = embedding.has_umap()
HOSTILE = "\"'</script><img src=x onerror=\"document.title='hacked'\">"


@pytest.fixture(autouse=True, scope="module")
def _without_umap():
    """Compiling it takes longer than all else here; ``test_umap_is_the_other_map`` runs it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(embedding, "has_umap", lambda: False)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory, _without_umap):
    """A pretraining, two fine-tunings, a fit and a benchmark, of seconds each."""
    root = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    drawn = [(int(rng.integers(19, 31)), int(rng.choice((8, 9, 16, 17))), rng.uniform(3.2, 4.4)) for _ in range(60)]
    task = CrystalDataset.from_crystals([cell(m, x, a, volume=a**3) for m, x, a in drawn])
    common = {"model": "MEGNet", "model_args": SMALL_MEGNET, "accelerator": "cpu", "batch_size": 16}
    matgl_ssl.pretrain(data=demo_corpus(50, seed=1), out=root / "pre", recipe="dssl", epochs=2, **common)
    for seed in (0, 1):
        matgl_ssl.finetune(
            data=task, out=root / f"ft-{seed}", target="volume", unit="Å³", test_fraction=0.4, val_fraction=0.2,
            epochs=3, init_from="scratch", seed=seed, **common,
        )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tabular, "_TREES", 20)
        matgl_ssl.fit(data=task, target="volume", unit="Å³", out=root / "fit", encoders=[], budget=0.001)
    matgl_ssl.report(runs=[root / name for name in ("pre", "ft-0", "ft-1", "fit")], out=root / "all" / "report.html")
    corpus_and_task(root)
    parts = [{"tasks": ["size"], "arms": ["trivial", "tabular"], "labels": [16, 32], "seeds": [0, 1, 2]}]
    matgl_ssl.benchmark(
        config=study(root, rounds=parts, compare=["trivial"]), data=root, out=root / "study", runs=root / "cells"
    )
    return root


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra [dev])")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser, path: Path, width: int):
    """The page, once its figures are drawn, what its console said, and what it asked the network for."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    heard, asked = [], []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.resolve().as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn || document.querySelector('.failed')")
    return page, heard, [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


DRAWN = """() => [...document.querySelectorAll('.drawing')].map(box => ({
    marks: box.querySelectorAll('.point, .js-line, .textpoint, .hm image, .heatmaplayer image').length,
    height: box.querySelector('.main-svg')?.getBoundingClientRect().height ?? 0,
}))"""
HOVER = """() => document.querySelectorAll('.drawing').forEach(box => Plotly.Fx.hover(
    box, [{curveNumber: 0, pointNumber: box.data[0].type === 'heatmap' ? [3, 7] : 0}]
))"""
BEYOND = """() => [...document.querySelectorAll('body *')].filter(
    e => !e.parentElement.closest('.scroll, svg, .drawing') && e.getBoundingClientRect().right > innerWidth + 1
).map(e => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize(("name", "figures"), [("pre", 9), ("ft-0", 5), ("fit", 6), ("all", 2), ("study", 2)])
def test_every_figure_is_drawn_and_nothing_overflows(runs, browser, name, figures, width):
    page, heard, asked = opened(browser, runs / name / "report.html", width)
    drawn = page.evaluate(DRAWN)
    assert len(drawn) == figures
    assert all(each["marks"] and each["height"] > 100 for each in drawn)
    assert not heard
    assert not asked
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.evaluate(BEYOND)
    page.close()


def test_colours_and_measures_are_the_readers_choice(runs, browser):
    page, heard, _ = opened(browser, runs / "pre" / "report.html", 1440)
    legends = "() => [...document.querySelectorAll('figure.map .legendtext')].map(e => e.textContent).join()"
    chemistry = page.evaluate(legends)
    assert "halides" in chemistry
    page.get_by_label("Colour by").select_option("crystal system")
    page.wait_for_function(f"({legends})() !== {json.dumps(chemistry)}")
    assert "cubic" in page.evaluate(legends)
    line = "() => document.querySelector('figure.choice .js-line').getAttribute('d')"
    before = page.evaluate(line)
    page.get_by_label("Measure").select_option("contrast: similarity")
    page.wait_for_function(f"({line})() !== {json.dumps(before)}")
    assert not heard
    page.close()


def test_a_benchmark_shows_differences_and_errors(runs, browser):
    page, heard, _ = opened(browser, runs / "study" / "report.html", 1440)
    assert page.get_by_label("Runs").locator("option").all_inner_texts() == [
        "MEGNet, 16 labels, fine-tune: size", "MEGNet, 32 labels, fine-tune: size",
    ]  # fmt: skip
    shown = page.evaluate("() => document.querySelector('.drawing').data[0].x[0]")
    table = (runs / "study" / "table.md").read_text()
    assert f"| tabular | {shown:+.1f} [" in table or f"| tabular | **{shown:+.1f} [" in table
    assert "**" not in page.locator("main").inner_text()
    assert not heard
    page.close()


def test_names_of_others_stay_text(runs, browser, tmp_path):
    """Ids, formulas, units, options and folders may hold anything."""
    folder = tmp_path / HOSTILE.replace("/", "")
    shutil.copytree(runs / "ft-0", folder)
    frame = read_kept(folder)
    frame["id"] = frame["formula"] = HOSTILE
    frame.to_parquet(folder / "crystals.parquet")
    config = dataclasses.asdict(Run.read(folder))["config"] | {"target": HOSTILE, "data": HOSTILE, "model": HOSTILE}
    (folder / "config.yaml").write_text(yaml.safe_dump(signed("config", config), sort_keys=False))
    (folder / "model" / "model.json").write_text(
        json.dumps({"metadata": {"matgl_ssl": {"target": {"unit": HOSTILE}}}})
    )  # fmt: skip
    page, heard, asked = opened(browser, matgl_ssl.report(runs=folder), 390)
    page.locator("figure.map").scroll_into_view_if_needed()
    page.evaluate(HOVER)
    assert page.locator(".hovertext").count()
    page.get_by_label("Colour by").select_option(index=3)
    assert not page.locator("img").count()
    assert HOSTILE in page.locator("h1").inner_text()
    assert HOSTILE in page.locator("td").all_inner_texts()
    assert "hacked" not in page.title().replace(HOSTILE, "")
    assert not heard
    assert not asked
    page.close()


def test_figures_are_what_plotly_knows(runs):
    """Its Python half checks each name and value of a figure, which its other half takes without a word."""
    graphs = pytest.importorskip("plotly.graph_objects")
    figures = 0
    for run in map(Run.read, (runs / name for name in ("pre", "ft-0", "fit"))):
        sections = {"pretraining": verb._pretrained, "fine-tuning": verb._finetuned, "fit": verb._fitted}[run.what](
            run
        )[0]
        specs = [block.spec for section in sections for block in section.blocks if block.kind in ("figure", "choice")]
        for spec in (each for whole in specs for each in whole.get("options", [whole])):
            graphs.Figure(data=spec["data"], layout=spec["layout"])
            figures += 1
    assert figures > 15


def test_captions_are_plain_words(runs):
    """The style of pages (``tests/prose.py``) holds for reports."""
    for run in map(Run.read, (runs / name for name in ("pre", "ft-0", "fit"))):
        sections = {"pretraining": verb._pretrained, "fine-tuning": verb._finetuned, "fit": verb._fitted}[run.what](
            run
        )[0]
        for text in (t for s in sections for t in (s.text, *(b.caption for b in s.blocks))):
            assert not prose.problems(text)


def test_numbers_are_the_runs(runs):
    text = (runs / "fit" / "report.html").read_text()
    target = json.loads((runs / "fit" / "ensemble.json").read_text())["targets"][0]
    assert f"{target['error']:.4g} Å³" in text
    mae = json.loads((runs / "ft-0" / "metrics.json").read_text())["test"]["mae"]
    assert f"{mae:.4g} Å³" in (runs / "ft-0" / "report.html").read_text()
    compared = (runs / "all" / "report.html").read_text()
    assert f"{mae:.4g}" in compared
    assert f"{target['error']:.4g}" in compared
    kept = pd.read_csv(runs / "ft-0" / "predictions.csv", dtype={"id": str}).merge(read_kept(runs / "ft-0"), on="id")
    np.testing.assert_allclose(kept["prediction_x"], kept["prediction_y"])


def test_a_run_that_is_resumed_draws_anew(runs, tmp_path):
    out = tmp_path / "pre"
    shutil.copytree(runs / "pre", out)
    before = (out / "report.html").read_text()
    (out / "report.html").unlink()
    options = {k: v for k, v in Run.read(out).options.items() if k in ("batch_size", "model", "model_args", "epochs")}
    matgl_ssl.pretrain(data=demo_corpus(50, seed=1), out=out, recipe="dssl", accelerator="cpu", resume=True, **options)
    assert (out / "report.html").read_text() == before.replace(str(runs / "pre"), str(out))


def test_a_run_that_is_not_finished_is_drawn(runs, tmp_path):
    out = tmp_path / "pre"
    shutil.copytree(runs / "pre", out, ignore=shutil.ignore_patterns("encoder", "crystals.parquet", "report.html"))
    text = matgl_ssl.report(runs=str(out)).read_text()
    assert "not finished" in text
    assert "Loss of contrast" in text
    assert "Map of the crystals" not in text


def test_the_command_line_draws_and_compares(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "pre.html"
    assert main(["report", str(runs / "pre"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"report  {out}\n"
    assert main(["report", str(runs / "ft-0"), str(runs / "ft-1"), str(tmp_path)]) == 0
    assert f"{tmp_path} is left out" in capsys.readouterr().err
    text = Path("comparison.html").read_text()
    assert "2 runs compared" in text
    assert "<td>seed</td><td>0</td><td>1</td>" in text
    assert main(["report", str(tmp_path)]) != 0
    assert "neither config.yaml nor fit.yaml" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not HAS_UMAP, reason="needs umap-learn (the extra [umap])")
def test_umap_is_the_other_map(runs, monkeypatch):
    monkeypatch.setattr(embedding, "has_umap", lambda: True)
    section = embedding.embedding(read_kept(runs / "pre"), "vectors")
    assert list(section.blocks[0].points["places"]) == ["PCA", "UMAP"]
