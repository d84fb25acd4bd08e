"""ASE calculators as teachers: a registered name, or ``module:class`` as a user writes it.

A calculator is code. It is imported when somebody names it as a teacher, and never because a file of data does.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from matgl_ssl import registry
from matgl_ssl._files import digest
from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ConfigError, DataError, ModelError
from matgl_ssl.work import parallel

logger = logging.getLogger(__name__)

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_BATCH = 16


def is_calculator(teacher: str | Path) -> bool:
    """Whether a teacher's name means an ASE calculator: a registered one, or ``module:class``."""
    known = _PATH.fullmatch(str(teacher)) is not None or teacher in registry.names("teachers")
    return known and not Path(teacher).exists()


def is_imported(teacher: str | Path) -> bool:
    """Whether its name is a path that is imported, ``module:class``, and not that of a registered one."""
    return is_calculator(teacher) and teacher not in registry.names("teachers")


def identity(teacher: str, arguments: Mapping[str, Any]) -> str:
    """What a calculator's labels depend on: its class, arguments, files among them, and its package's version."""
    registered = teacher in registry.names("teachers")
    module = registry.find("teachers", teacher).module if registered else teacher.partition(":")[0]
    packages = _distributions().get(module.partition(".")[0], [])
    facts = [f"{package} {version(package)}" for package in {*packages, "ase"}]
    files = [value for value in arguments.values() if isinstance(value, str)]
    if not packages:  # somebody's own module
        with suppress(ImportError):  # which make_calculator tells of
            files += [spec.origin] if (spec := find_spec(module)) and spec.origin else []
    facts += [digest([Path(file).read_bytes()]) for file in files if Path(file).is_file()]
    return json.dumps([teacher, dict(arguments), sorted(facts)], sort_keys=True, default=str)


def make_calculator(teacher: str, arguments: Mapping[str, Any]) -> Any:
    """Import what a teacher names, and call it.

    Args:
        teacher: A registered name, or ``module:class`` (a function will do, too).
        arguments: Its keyword arguments.

    Raises:
        ModelError: If it cannot be imported or made, or is not an ASE calculator.
    """
    try:
        known = teacher in registry.names("teachers")
        factory = registry.load("teachers", teacher) if known else resolve_name(teacher)
        calculator = factory(**arguments)
    except ConfigError:
        raise
    except Exception as err:
        raise ModelError(
            f"The teacher {teacher} cannot be made with the arguments {dict(arguments)}: {type(err).__name__}: {err}. "
            "Is its package installed, and are its teacher_args right?"
        ) from err
    if not hasattr(calculator, "get_property"):
        raise ModelError(f"{teacher} makes a {type(calculator).__name__}, which is not an ASE calculator.")
    return calculator


def calculated(
    crystals: Sequence[tuple[Crystal, Crystal]],
    teacher: str,
    arguments: Mapping[str, Any],
    num_workers: int,
    cluster: str | None = None,
) -> Iterator[Crystal]:
    """Label crystals with a calculator, which each worker process makes for itself.

    One that has a method ``at_rest`` is given the crystal at rest before each copy of it, as ASE atoms.
    A crystal on which it fails is left out; the log has their number and the first reason.

    Args:
        crystals: The crystals, each with the crystal at rest that it is a copy of, itself perhaps.
        teacher: As for ``make_calculator``.
        arguments: Its keyword arguments.
        num_workers: Processes that share the work.
        cluster: Address of a Dask scheduler whose workers share it instead.

    Yields:
        Crystals with ``energy`` (eV), ``forces`` (eV/Å) and ``stress`` (eV/Å³, positive under tension), as far as the
        calculator has them.

    Raises:
        ModelError: As ``make_calculator``.
        DataError: If it fails on every crystal.
    """
    make_calculator(teacher, arguments)  # what is wrong with it is said here, not in a worker
    label = partial(_label_part, teacher, json.dumps(dict(arguments)))
    parts = [crystals[start : start + _BATCH] for start in range(0, len(crystals), _BATCH)]
    reasons = []
    for labelled in parallel(
        label, parts, n_jobs=num_workers, cluster=cluster, what="labelling crystals", total=len(parts)
    ):
        for crystal, reason in labelled:
            if reason:
                reasons.append(f"{crystal.id}: {reason}")
            else:
                yield crystal
    if reasons and len(reasons) == len(crystals):
        raise DataError(f"The teacher {teacher} fails on all of {len(crystals)} crystals, first on {reasons[0]}.")
    if reasons:
        logger.warning("%s fails on %d of %d crystals, first on %s.", teacher, len(reasons), len(crystals), reasons[0])


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def _calculator(teacher: str, arguments: str) -> Any:
    return make_calculator(teacher, json.loads(arguments))


def _label_part(teacher: str, arguments: str, crystals: Sequence[tuple[Crystal, Crystal]]) -> list[tuple[Crystal, str]]:
    calculator = _calculator(teacher, arguments)
    labelled = []
    for crystal, rest in crystals:
        labels, reason = {}, ""
        try:
            if hasattr(calculator, "at_rest"):
                calculator.at_rest(rest.to_atoms())
            labels = _labels(calculator, crystal)
        except Exception as err:  # a calculator may raise anything; it costs this crystal only
            reason = f"{type(err).__name__}: {err}"
        if not all(np.isfinite(value).all() for value in labels.values()):
            reason = "values that are not finite"
        labelled.append((dataclasses.replace(crystal, labels=labels), reason))
    return labelled


def _labels(calculator: Any, crystal: Crystal) -> dict[str, Any]:
    from ase.calculators.calculator import PropertyNotImplementedError

    atoms = crystal.to_atoms()
    atoms.calc = calculator
    labels: dict[str, Any] = {}
    with suppress(PropertyNotImplementedError):
        labels["energy"] = float(atoms.get_potential_energy())
    with suppress(PropertyNotImplementedError):
        labels["forces"] = np.array(atoms.get_forces(), dtype=float)
    with suppress(PropertyNotImplementedError):
        labels["stress"] = np.array(atoms.get_stress(voigt=False), dtype=float)
    return labels
