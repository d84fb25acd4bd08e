"""Label columns as Arrow has them: each of one kind, whatever stood for a missing value."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from matgl_ssl.errors import DataError, did_you_mean

logger = logging.getLogger(__name__)

UNNAMED = "unnamed"
"""The label of a table that says no names, as CGCNN's ``id_prop.csv``: it answers to any."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "<na>"})
"""Text that stands for a missing number, in lower case (JARVIS writes ``na``)."""


class Untyped(str):
    """A value of a text table, which does not say whether it is a number."""

    __slots__ = ()


class MixedKindsError(ValueError):
    """A column whose values are of several kinds; ``index`` is the first that differs from most of them."""

    def __init__(self, index: int, value: Any, usual: str) -> None:
        super().__init__(f"{value!r:.60}, where most are {usual}")
        self.index = index


def label_column(values: Sequence[Any], *, strict: bool = True) -> pa.Array | None:
    """A column of labels: numbers, booleans, text, or flat lists of numbers.

    Text of ``MISSING`` among numbers is a missing number. ``Untyped`` text becomes numbers where all of it can.

    Args:
        values: One a crystal; None where it has none.
        strict: Whether untyped values that mostly are numbers must all be.

    Returns:
        None if there is nothing that a label can be: mappings, lists of text.

    Raises:
        MixedKindsError: If the values are of several kinds, or an integer has more than 64 bits.
    """
    values = [_plain(value) for value in values]
    if any(isinstance(value, Untyped) for value in values):
        values = _typed(values, strict)
    kinds = [_kind(value) for value in values]
    found = Counter(kind for kind in kinds if kind)
    if set(found) == {"text", "numbers"} and all(v != v for v, k in zip(values, kinds, strict=True) if k == "numbers"):
        found.pop("numbers")  # pandas' NaN among text
    if {"numbers", "booleans"} & set(found) or set(found) == {"text"}:
        texts = {value.lower() for value, kind in zip(values, kinds, strict=True) if kind == "text"}
        if texts <= MISSING:
            found.pop("text", None)
    if set(found) == {"numbers", "booleans"}:
        found = Counter(numbers=1)
    if len(found) > 1:
        usual = found.most_common(1)[0][0]
        index = next(i for i, kind in enumerate(kinds) if kind not in ("", usual))
        raise MixedKindsError(index, values[index], usual)
    if not found:
        return pa.nulls(len(values))
    if (usual := next(iter(found))) == "others":
        return None
    allowed = ("numbers", "booleans") if usual == "numbers" else (usual,)
    kept = [value if kind in allowed else None for value, kind in zip(values, kinds, strict=True)]
    return _array(kept, usual)


def known_columns(names: Sequence[str], available: Sequence[str], source: str) -> list[str]:
    """Return ``names`` after checking that each is available, with ``UNNAMED`` for the one that it stands for.

    Raises:
        DataError: If one is not; the message names the nearest that is.
    """
    unknown = [name for name in names if name not in available]
    if len(unknown) > (UNNAMED in available and UNNAMED not in names):
        hint = did_you_mean(unknown[0], available)
        raise DataError(f"{source}: no column {unknown[0]!r} among {list(available)}.{hint}")
    return [UNNAMED if name in unknown else name for name in names]


def named_column(
    name: str, values: Sequence[Any], ids: Sequence[Any], source: str, asked: Collection[str] | None
) -> pa.Array | None:
    """A column that must be of one kind if it is asked for (None: all are); otherwise it is left out with a warning.

    Raises:
        DataError: If it is of several kinds, or of none that a label can be, though it is asked for.
    """
    must = asked is None or name in asked
    try:
        column = label_column(values, strict=must)
    except MixedKindsError as err:
        message = f"{source}: the values of label {name!r} are of different kinds: {ids[err.index]} has {err}"
        if must:
            raise DataError(message) from err
        logger.warning("%s. The label is left out.", message)
        return None
    if column is None and asked is not None and name in asked:
        raise DataError(f"{source}: label {name!r} holds mappings or lists of text, as {values[0]!s:.60}: no numbers")
    return column


def is_number(text: str) -> bool:
    """Whether text is that of a number."""
    return isinstance(value := _read(text), Real) and not isinstance(value, bool)


def _array(values: list[Any], usual: str) -> pa.Array:
    try:
        if usual != "numbers":
            return pa.array(values)
        whole = all(value is None or isinstance(value, int) for value in values)
        values = [int(value) if isinstance(value, bool) else value for value in values]
        return pa.array(values, pa.int64() if whole else pa.float64())
    except (OverflowError, pa.ArrowInvalid):
        large = [i for i, v in enumerate(values) if isinstance(v, int) and not -(2**63) <= v < 2**63]
        if not large:
            raise
        raise MixedKindsError(large[0], values[large[0]], "numbers of at most 64 bits") from None


def _plain(value: Any) -> Any:
    """Python's own scalars, and flat arrays."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        try:
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
                value = np.array(value, dtype=float)
            return value.ravel()
        except (OverflowError, TypeError, ValueError):
            return {}
    return value


def _kind(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "booleans"
    if isinstance(value, Real):
        return "numbers"
    return "lists" if isinstance(value, np.ndarray) else "others"


def _typed(values: Sequence[Any], strict: bool) -> list[Any]:
    """Numbers or booleans, if all that is there is one; else text."""
    typed = [_read(value) if isinstance(value, str) else value for value in values]
    texts = [i for i, value in enumerate(typed) if isinstance(value, str)]
    there = sum(value is not None for value in typed)
    if texts and strict and there > 2 * len(texts):
        raise MixedKindsError(texts[0], values[texts[0]], "numbers")
    return [value or None for value in values] if texts else typed


_BOOLEANS: Mapping[str, bool] = {"true": True, "false": False}


def _read(text: str) -> Any:
    lower = text.strip().lower()
    if lower in MISSING:
        return None
    if lower in _BOOLEANS:
        return _BOOLEANS[lower]
    try:  # Python alone reads 1_000 as a number
        return int(lower) if lower.lstrip("+-").isdecimal() else float(lower.replace("_", "x"))
    except ValueError:
        return text
