"""Ids of crystals: every row has one, and rows that share one are reported."""

from __future__ import annotations

import logging

import datasets
import pyarrow.compute as pc

logger = logging.getLogger(__name__)

_MANY = 1_000_000


def with_ids(table: datasets.Dataset, column: str) -> datasets.Dataset:
    """A table in which the number of a row is its id, in ``column``, where it has none."""
    if column not in table.column_names:
        return table.add_column(column, [str(row) for row in range(len(table))])
    if not table.data.column(column).null_count:
        return table
    ids = [str(row) if id_ is None else str(id_) for row, id_ in enumerate(table[column])]
    return table.remove_columns(column).add_column(column, ids)


def warn_of_copies(table: datasets.Dataset, column: str, source: str) -> None:
    """Log how many rows have an id that another one has; of ``_MANY`` rows at most, as it takes their ids in memory."""
    ids = table.data.column(column)
    if len(ids) > _MANY or pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    copied = counts.filter(pc.greater(counts.field("counts"), 1))
    logger.warning(
        "%s: %d crystals share their ids with others, as %s: their results cannot be distinguished.",
        source, pc.sum(copied.field("counts")).as_py(), copied.field("values")[0].as_py(),
    )  # fmt: skip
