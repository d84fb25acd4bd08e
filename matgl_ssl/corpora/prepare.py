"""``prepare``: any sources to one folder of checked Arrow shards without duplicates, and a manifest."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from matgl_ssl._files import locked, writing
from matgl_ssl._folders import replace_folder
from matgl_ssl.boundary import verb
from matgl_ssl.crystals import CheckReport, CrystalDataset, read_crystals
from matgl_ssl.crystals.duplicates import TOLERANCE
from matgl_ssl.crystals.prepared import LEFT_OUT, MANIFEST, is_prepared, read_prepared
from matgl_ssl.encoders import ARCHITECTURES, Encoder
from matgl_ssl.errors import ConfigError, NothingLeftError, RunDirectoryError
from matgl_ssl.formats import signed
from matgl_ssl.hub import new_model
from matgl_ssl.pretexts import build_pretext
from matgl_ssl.recipes import load_recipe
from matgl_ssl.targets import Target

from .manifest import contents, describe, left_out
from .rows import Checks, common_schema
from .shards import examine, find_repeated, finish, good_crystals, parts_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` leaves behind.

    Attributes:
        out: The folder: a source wherever crystals are read.
        manifest: What it holds: sources with licence, hash and counts, checks, targets, shards with hashes.
    """

    out: Path
    manifest: dict[str, Any]

    @property
    def crystals(self) -> CrystalDataset:
        """The crystals, memory-mapped."""
        return read_prepared(self.out)


@verb
def prepare(
    *,
    data: Any,
    out: str | Path,
    license: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    stress_unit: str | None = None,
    recipe: str | Path | None = None,
    cutoff: float = 5.0,
    min_distance: float = 0.5,
    tolerance: float = TOLERANCE,
    keep_duplicates: bool = False,
    shard_rows: int = 10_000,
    num_workers: int = 0,
    cluster: str | None = None,
) -> Prepared:
    """Bring crystals together in one folder that ``pretrain`` and the others take as their data.

    Work in progress is kept beside ``out``, in ``.NAME.preparing``. The same call continues it after any interruption.
    ``out`` is there when it is complete.

    Args:
        data: A source (see ``read_crystals``), or a list of paths and names. Of duplicates the first one stays.
        out: The folder to be written.
        license: Under which terms the data may be used, best by its SPDX identifier: one for all sources, or one each.
        columns: Labels to keep; all by default.
        energy_unit: Unit of the label ``energy`` in all sources, if not eV or what a source's layout says.
        force_unit: The same of ``forces``, if not eV/Å.
        stress_unit: The same of ``stress``, if not eV/Å³ with tension positive.
        recipe: Compute the targets of this recipe, so that ``pretrain`` finds them there.
        cutoff: Radius of graphs in Å; crystals without any neighbour within it are left out.
        min_distance: Smallest distance of two atoms in Å, periodic images included.
        tolerance: Crystals are duplicates if no atom is further than this from its place in the other (Å).
        keep_duplicates: Do not look for duplicates.
        shard_rows: Rows of a source that become one file, at most.
        num_workers: Processes that share the work.
        cluster: Address of a Dask scheduler whose workers share it instead.

    Returns:
        The folder and its manifest.

    Raises:
        DataError: If a source cannot be read, or columns do not fit each other.
        NothingLeftError: If no crystal passes the checks.
        RunDirectoryError: If ``out`` is there already, or another process is preparing it.
        ConfigError: If there are not as many licences as sources, or the recipe has no targets.
    """
    out = Path(out)
    sources = list(data) if isinstance(data, (list, tuple)) and all(map(_is_name, data)) else [data]
    licenses = _licenses(license, sources)
    targets = recipe_targets(recipe) if recipe else ()
    shared: dict[str, Any] = {"n_jobs": num_workers, "cluster": cluster}
    given = {"energy": energy_unit, "force": force_unit, "stress": stress_unit}
    units = {name: unit for name, unit in given.items() if unit is not None}
    with _work_folder(out) as work, writing(out, work):
        tables = [read_crystals(source, columns=columns, units=units) for source in sources]
        schema, checks = common_schema(tables), Checks(cutoff, min_distance)
        parts = parts_of(tables, schema, checks, shard_rows)
        final = work / "final"
        examine(tables, parts, work, schema, checks, **shared)
        good, bounds = good_crystals(parts, work)
        first = np.full(len(good), -1) if keep_duplicates else find_repeated(good, parts, work, tolerance, **shared)
        repeated = np.split(first, bounds[1:-1])
        files = finish(good, parts, repeated, final, targets, **shared)
        counts = left_out(final / LEFT_OUT, tables, parts, work, good, repeated)
        if not files:
            raise _nothing_left(sources, tables, counts)
        manifest = signed("manifest", {
            **contents(sources, licenses, tables, parts, repeated, counts, files),
            "units": units,
            "checks": asdict(checks),
            "duplicates": None if keep_duplicates else {"tolerance": tolerance},
            "targets": {target.column: repr(target) for target in targets},
        })  # fmt: skip
        (final / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        replace_folder(final, out)
        shutil.rmtree(work)
    return Prepared(out, manifest)


def recipe_targets(recipe: str | Path) -> tuple[Target, ...]:
    """The targets that a recipe's pretexts ask for.

    Raises:
        ConfigError: If there is no such recipe, or it has none.
    """
    with torch.random.fork_rng(devices=[]):
        encoder = Encoder(new_model(next(iter(ARCHITECTURES)), {}))  # what is asked for does not depend on it
        pretexts = [
            build_pretext(each["name"], encoder, each.get("arguments", {}))
            for each in load_recipe(str(recipe)).get("pretexts", [])
        ]
    targets = tuple(dict.fromkeys(target for pretext in pretexts for target in pretext.targets))
    if not targets:
        raise ConfigError(f"Recipe {str(recipe)!r} has no computed targets: leave out --recipe.")
    return targets


def _nothing_left(
    sources: Sequence[Any], tables: Sequence[CrystalDataset], counts: Sequence[Counter[str]]
) -> NothingLeftError:
    reasons = ", ".join(f"{n} {code}" for code, n in sum(counts, Counter()).most_common())
    report = CheckReport(sum(map(len, tables)), 0, tuple(chain(*(table.rejected for table in tables))))
    return NothingLeftError(f"No crystal of {', '.join(map(describe, sources))} can be kept: {reasons}.", report)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    work = out.absolute().parent / f".{out.name}.preparing"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if is_prepared(out) and not (work / "final").exists():  # killed when all was done but tidying up
            shutil.rmtree(work, ignore_errors=True)
        what = "has been prepared already" if is_prepared(out) else "is there already"
        raise RunDirectoryError(f"{out} {what}: choose another --out, or remove it.")
    (work / "final").mkdir(parents=True, exist_ok=True)
    with locked(work / "lock", wait=False) as ours:
        if not ours:
            raise RunDirectoryError(
                f"{out} is being prepared by another process: wait for it, or choose another --out."
            )
        yield work


def _licenses(license: str | Sequence[str] | None, sources: Sequence[Any]) -> list[str | None]:
    given = [license] if license is None or isinstance(license, str) else list(license)
    if len(given) == 1:
        given *= len(sources)
    if len(given) != len(sources):
        raise ConfigError(f"--license: {len(given)} licences for {len(sources)} sources; give one, or one for each.")
    if None in given and not all(isinstance(each, (str, Path)) and is_prepared(Path(each)) for each in sources):
        logger.warning("No licence is given: --license writes into the manifest how the data may be used.")
    return list(given)


def _is_name(source: Any) -> bool:
    return isinstance(source, (str, Path, CrystalDataset))
