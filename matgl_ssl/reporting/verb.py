"""``report``: one run's page, or a page that compares several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matgl_ssl._files import write_text
from matgl_ssl.boundary import verb
from matgl_ssl.errors import ConfigError, RunDirectoryError

from . import finetuned, fitted
from .blocks import Section, Tile
from .collapse import collapse
from .compare import compared, overview
from .embedding import embedding
from .losses import training
from .page import page
from .record import record
from .runs import Run

logger = logging.getLogger(__name__)

REPORT = "report.html"
COMPARISON = "comparison.html"


@verb
def report(*, runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Draw what a run was and how it went, or compare several.

    The page is one HTML file that needs no network. A run draws its own when it ends; this draws it anew, with what is
    installed today, and also draws runs that are not finished.

    Args:
        runs: Directories that ``pretrain``, ``finetune`` or ``fit`` left. Of several, those that hold no run are left
            out with a warning.
        out: The HTML file to be written: by default ``report.html`` in the directory of one run, and
            ``comparison.html`` here for several.

    Returns:
        The file.

    Raises:
        RunDirectoryError: If none is a run's directory, or a file of the only one was changed.
        ConfigError: If ``out`` is no name of an HTML file, or no run is named.
    """
    paths = [runs] if isinstance(runs, str | Path) else list(runs)
    if not paths:
        raise ConfigError("Name the directory of a run, or of several: mgl-ssl report runs/gap.")
    if out is not None and Path(out).suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out (out=) {out}: a report is an HTML file. Call it {Path(out).name}.html, for example.")
    read = [Run.read(paths[0])] if len(paths) == 1 else _runs_of(paths)
    target = Path(out) if out else read[0].path / REPORT if len(read) == 1 else Path(COMPARISON)
    write_text(target, _one(read[0]) if len(read) == 1 else _several(read))
    return target


def _runs_of(paths: Sequence[str | Path]) -> list[Run]:
    """Those that are runs: the shell's ``runs/*`` names all that lies there."""
    found = []
    for path in paths:
        try:
            found.append(Run.read(path))
        except RunDirectoryError as err:
            logger.warning("%s is left out. %s", path, err)
    if not found:
        raise RunDirectoryError(f"None of {', '.join(map(str, paths))} is the directory of a run.")
    return found


@contextmanager
def draw(root: Path) -> Iterator[None]:
    """At a run's end: its crystals are kept in the block, then its report is drawn. Neither can fail the run."""
    try:
        yield
        logger.info("The run in figures: %s", report(runs=root))
    except Exception as err:
        logger.warning("%s was not drawn: %s. The run itself is complete. mgl-ssl report %s draws it.",
                       root / REPORT, err, root, exc_info=logger.isEnabledFor(logging.DEBUG))  # fmt: skip


def _one(run: Run) -> str:
    sections, tiles = {"pretraining": _pretrained, "fine-tuning": _finetuned, "fit": _fitted}[run.what](run)
    state = "" if run.finished else ", not finished"
    return page(_title(run), f"{run.path}{state}", tiles, [*sections, record(run)])


def _several(runs: Sequence[Run]) -> str:
    first = Section("Runs", "", [overview(runs)])
    return page(f"{len(runs)} runs compared", "", [], [first, *compared(runs)])


def _pretrained(run: Run) -> tuple[list[Section], list[Tile]]:
    found = [training(run), embedding(run.crystals, "those of the encoder's last layer"), collapse(run)]
    epochs = run.epochs
    tiles = [Tile(f"{run.skipped['n_kept']:,}", "crystals")] if "n_kept" in run.skipped else []
    tiles.append(Tile(f"{len(epochs)} of {run.config['epochs']}", "epochs"))
    if "val_loss" in epochs:
        tiles.append(Tile(f"{epochs['val_loss'].iloc[-1]:.3g}", "loss, held out"))
    if "collapse_rank" in epochs:
        tiles.append(Tile(f"{epochs['collapse_rank'].dropna().iloc[-1]:.1f}", "effective rank", "of the vectors"))
    return [section for section in found if section], tiles


def _finetuned(run: Run) -> tuple[list[Section], list[Tile]]:
    found = [finetuned.finetuned(run), training(run),
             embedding(run.crystals, "those of the fine-tuned encoder's last layer", run.unit)]  # fmt: skip
    return [section for section in found if section], finetuned.tiles(run)


def _fitted(run: Run) -> tuple[list[Section], list[Tile]]:
    return fitted.fitted(run), fitted.tiles(run)


def _title(run: Run) -> str:
    config = run.config
    titles: dict[str, Callable[[], str]] = {
        "pretraining": lambda: f"{config['model']} pretrained with {config['recipe']}",
        "fine-tuning": lambda: f"{config['model']} fine-tuned on {config['target']}",
        "fit": lambda: f"Fit to {', '.join(config['target'])}",
    }
    return titles[run.what]()
