"""Arrow's list columns to numpy, without the detour over python lists."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of the list types."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def decode(column: pa.ChunkedArray) -> list[Any]:
    """Decode a column: python scalars, or one flat numpy array per row of a (nested) list column; ``None`` for null."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps several chunks when offsets would overflow
        return [value for chunk in array.chunks for value in decode(pa.chunked_array([chunk]))]
    if isinstance(array, pa.ExtensionArray):  # Array2D of datasets
        array = array.storage
    if not is_list(array.type):
        return array.to_pylist()
    null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    bounds = np.arange(len(array) + 1)
    while is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        bounds = np.concatenate([[0], np.cumsum(lengths)])[bounds]
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    rows: list[Any] = [values[start:stop] for start, stop in pairwise(bounds)]
    return rows if null is None else [None if gone else row for gone, row in zip(null, rows, strict=True)]
