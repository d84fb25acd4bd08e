"""Tables on the Hugging Face hub: one split of a name, streamed into the cache with no more columns than needed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from huggingface_hub import DatasetCard, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from matgl_ssl._files import digest
from matgl_ssl._seals import is_whole, read_sealed, write_sealed
from matgl_ssl.crystals.conversion import CONVERTED, converted, rejected_file, wanted_columns
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.crystals.tables import cache_directory, cached_file
from matgl_ssl.errors import DataError

logger = logging.getLogger(__name__)

NAME = re.compile(r"[\w.-]+/[\w.-]+(:\w[\w.\[\]:%+-]*)?")
"""``owner/name``, ``owner/name:split``, ``owner/name:configuration`` or ``owner/name:configuration:split``."""
_ROWS = 2048
_PATIENCE = 10
"""Seconds until the hub must have answered."""
_TABLES = ("parquet", "arrow", "csv", "json")
"""What ``datasets`` may read for us. It knows forty formats, some of which fetch or unpickle what a file names."""
_ELSEWHERE = re.compile(r".*(://|::)|[/~\\]|[A-Za-z]:|(.*/)?\.\.(/|$)", re.DOTALL)
"""A file's name that leads out of its repository."""


def read_hub(source: str, columns: Sequence[str] | None) -> CrystalDataset:
    """The crystals of a name that matches ``NAME``.

    What is read stays in the cache, and is read again only when the hub has another version. Where the hub cannot be
    reached, the last version that was read is used.

    Raises:
        DataError: If there is no such table, nothing can be reached, or the table has no structures.
    """
    last = cache_directory() / "hub" / digest([source, repr(columns)], 24)
    try:
        key, batches = _opened(source, columns)
    except DataError:
        raise
    except Exception as err:  # offline, absent, gated, without this split: each has its own class
        key = read_sealed(last) or ""
        if not (is_whole(cached_file(key)) and is_whole(rejected_file(key))):
            raise DataError(
                f"{source}: no such path here, and no Hugging Face dataset of this name can be reached: {err}"
            ) from err
        logger.warning("%s: the hub cannot be reached (%s). What was read last time is used.", source, err)
        batches = _nothing
    crystals = converted(key, batches, source)
    write_sealed(last, key)
    return crystals


def _opened(source: str, columns: Sequence[str] | None) -> tuple[str, Callable[[], Iterator[pa.Table]]]:
    """What names the rows of this version in the cache, and what gives them."""
    name, *parts = source.split(":", 2)
    config, split = parts if len(parts) == 2 else (None, *parts, None)[:2]
    version = HfApi().dataset_info(name, timeout=_PATIENCE).sha  # once: datasets tries five times, for half a minute
    _refuse_elsewhere(name, version)
    configs = datasets.get_dataset_config_names(name, revision=version)
    if config is None and split in configs:
        config, split = split, None
    if config is None and len(configs) > 1 and "default" not in configs:
        raise DataError(f"{source}: name a configuration, for example {name}:{configs[0]}. There are {configs}.")
    builder = datasets.load_dataset_builder(name, config, revision=version)
    if (kind := type(builder).__module__.rpartition(".")[2]) not in _TABLES:
        raise DataError(f"{source}: files of the kind {kind!r} are not read from the hub, but {', '.join(_TABLES)}.")
    streams = datasets.load_dataset(name, config, streaming=True, revision=version)
    split = split or ("train" if "train" in streams or len(streams) > 1 else next(iter(streams)))
    if re.split(r"[\[+]", split)[0] not in streams:
        raise DataError(f"{source}: no configuration or split {split!r} among {configs} and {list(streams)}.")
    sliced = "[" in split  # which has to know the number of rows
    rows = datasets.load_dataset(name, config, split=split, streaming=not sliced, revision=version)
    rows = rows.with_format("arrow")
    available = rows.column_names or next(rows.iter(1)).column_names
    wanted = wanted_columns(available, columns, source) or list(available)
    if not sliced and hasattr(builder.config, "columns"):  # Parquet: the other columns are not even fetched
        rows = datasets.load_dataset(
            name, config, split=split, streaming=True, columns=wanted, revision=version
        ).with_format("arrow")
    key = digest(["hub", name, str(version), str(config), split, repr(columns), CONVERTED], 24)
    return key, lambda: rows.select_columns(wanted).iter(_ROWS)


def _refuse_elsewhere(name: str, version: str | None) -> None:
    """Refuse a table whose card names files that are not its own: ``datasets`` would ask for them, wherever they are.

    Raises:
        DataError: If it does.
    """
    for record, card in (
        (datasets.config.REPOCARD_FILENAME, "{}"),
        (datasets.config.REPOYAML_FILENAME, "---\n{}\n---\n"),
    ):
        with suppress(EntryNotFoundError):
            file = hf_hub_download(name, record, repo_type="dataset", revision=version)
            said = DatasetCard(card.format(Path(file).read_text(encoding="utf-8")), ignore_metadata_errors=True)
            for text in _texts(said.data.to_dict().get("configs")):
                if _ELSEWHERE.match(text):
                    raise DataError(
                        f"{name}: {record} names {text!r:.80}, which is not among its own files. It was not read."
                    )


def _texts(value: Any) -> Iterator[str]:
    """All text in nested lists and mappings; what YAML's anchors repeat comes once."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | Mapping) and id(value) not in seen:
            seen.add(id(value))
            pending += [*value.values()] if isinstance(value, Mapping) else value


def _nothing() -> Iterator[pa.Table]:
    """No rows: they are in the cache."""
    return iter(())
