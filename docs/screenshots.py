"""The pictures of docs/report.md: runs of minutes on public data, their reports, and what a browser shows of them.

    MATGL_SSL_DATA=... python docs/screenshots.py            # makes the runs that are not there yet, then the pictures

Needs the extra ``[dev]`` and Chromium (``apt-get install chromium``).
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
from pathlib import Path
from typing import Any

import matgl_ssl

HERE = Path(__file__).parent
PICTURES = HERE / "report"
LARGEST = 150_000  # bytes
SHOTS = {
    "predictions": ("moduli", "section:has-text('How good are the predictions?') .blocks > figure:nth-child(1)"),
    "elements": ("moduli", "figure:has(h3:text-is('Error by element'))"),
    "intervals": ("moduli", "section:has(h2:text-is('Can the intervals be trusted?'))"),
    "labels": ("moduli", "section:has(h2:text-is('How many labels do I need?'))"),
    "map": ("pretrained", "section:has(h2:text-is('Map of the crystals'))"),
    "vectors": ("pretrained", "section:has(h2:text-is('Do the vectors differ?'))"),
    "comparison": ("comparison", "section:has(h2:text-is('Training'))"),
}
"""Of each picture: the report, and which element of it."""


def make_runs(data: Path, runs: Path) -> None:
    """Two pretrainings and a fit, unless they are there."""
    common: dict[str, Any] = {"model": "MEGNet", "data": data / "mp37k" / "val.parquet", "accelerator": "cpu"}
    recipes = {"pretrained": "textbook", "masked": "masked-atoms"}
    for name, recipe in recipes.items():
        if not (runs / name / "encoder").exists():
            options = {"n_crystals": 700, "max_atoms": 10, "epochs": 6, "val_fraction": 0.2}
            matgl_ssl.pretrain(out=runs / name, recipe=recipe, **common, **options)
    moduli = data / "tasks" / "mp_elasticity_3191.parquet"
    if not (runs / "moduli" / "report.html").exists():
        crystals = matgl_ssl.read_crystals(moduli).select(range(0, 3000, 15))
        matgl_ssl.fit(
            data=crystals, target="bulk_modulus_vrh", unit="GPa", out=runs / "moduli", fine_tunings=0, encoders=[]
        )
    (runs / "comparison").mkdir(exist_ok=True)
    for name in (*recipes, "moduli"):
        matgl_ssl.report(runs=runs / name)
    matgl_ssl.report(runs=[runs / name for name in recipes], out=runs / "comparison" / "report.html")


def take(runs: Path) -> None:
    """The pictures, and one of a phone."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, (run, selector) in SHOTS.items():
            page = browser.new_page(viewport={"width": 1100, "height": 900})
            _open(page, runs / run / "report.html")
            keep(name, page.locator(selector).first.screenshot())
            page.close()
        page = browser.new_page(viewport={"width": 390, "height": 844})
        _open(page, runs / "moduli" / "report.html")
        keep("phone", page.screenshot())
        browser.close()


def _open(page: Any, report: Path) -> None:
    page.goto(report.resolve().as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=120_000)


def keep(name: str, png: bytes) -> None:
    """Write a picture as WebP.

    Raises:
        ValueError: If it is larger than a page should be.
    """
    from PIL import Image

    drawn = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(drawn, format="webp", quality=88, method=6)
    if len(drawn.getvalue()) > LARGEST:
        raise ValueError(f"{name} takes {len(drawn.getvalue()):,} bytes, more than {LARGEST:,}.")
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.webp").write_bytes(drawn.getvalue())


def main() -> None:
    """Make the runs and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/screenshots"), help="where the runs go")
    runs = parser.parse_args().runs
    make_runs(Path(os.environ["MATGL_SSL_DATA"]), runs)
    take(runs)


if __name__ == "__main__":
    main()
