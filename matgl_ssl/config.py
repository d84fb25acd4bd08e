"""Closed schemas for options: what YAML files, command-line flags and Python keywords have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from matgl_ssl.errors import ConfigError, unknown
from matgl_ssl.formats import upgrade
from matgl_ssl.renamed import current_options


class Config(BaseModel):
    """Base of all configurations: unknown keys are errors.

    Attributes:
        SECTIONS: Fields in the groups that the help of the command line shows, by title.
        DEFAULTS: What a default means that is no value of its own, by field.
    """

    SECTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    DEFAULTS: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def build(cls, *layers: dict[str, Any]) -> Self:
        """Merge layers, later ones win, and validate.

        Raises:
            ConfigError: Naming the key, what is wrong with it, and the nearest valid key.
        """
        merged = {
            k: str(v) if isinstance(v, Path) else v for layer in layers for k, v in current_options(layer).items()
        }
        try:
            return cls(**merged)
        except ValidationError as err:
            for problem in err.errors():
                key = ".".join(map(str, problem["loc"]))
                if problem["type"] == "extra_forbidden":
                    raise unknown("option", key, cls.model_fields) from None
                if not key:  # a check of the whole, in words of its own
                    raise ConfigError(str(problem["ctx"]["error"])) from None
                got = "" if problem["type"] == "missing" else f" (got {problem['input']!r})"
                raise ConfigError(f"{key}: {problem['msg']}{got}.") from None
            raise


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ConfigError: If it is missing, or is not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"No configuration file {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 ({err}): save it as UTF-8 (PowerShell's > writes UTF-16).") from err
    content = plain_yaml(text, path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of options, not {type(content).__name__}.")
    return upgrade("config", content, path) if "format" in content else content  # a run's, or one written by hand


def plain_yaml(text: str, where: object) -> Any:
    """The numbers, texts, lists and mappings of a YAML text.

    Args:
        text: The text, of at most a million characters.
        where: The file, for messages.

    Raises:
        ConfigError: If it is not YAML, gives a key twice, or is too large once its anchors are filled in.
    """
    try:
        loader = _PlainLoader(text[:_LARGEST])
        node = loader.get_single_node()
        if len(text) > _LARGEST or _size(node, {}) > _LARGEST // 10:
            raise ConfigError(f"{where} is too large for a configuration.")
        return None if node is None else loader.construct_document(node)
    except ConfigError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as err:  # no date, no such bool
        raise ConfigError(f"{where} is not YAML or JSON: {err}") from err


_LARGEST = 1_000_000


class _PlainLoader(yaml.SafeLoader):
    """YAML would take the last of two values that have one key."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and not key.tag.endswith(":merge"):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _size(node: Any, known: dict[int, int]) -> int:
    """Nodes below one, those that an anchor repeats each time."""
    if id(node) not in known:
        known[id(node)] = _LARGEST  # of one that contains itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        pairs = isinstance(node, yaml.MappingNode)
        known[id(node)] = 1 + sum(_size(n, known) for part in parts for n in (part if pairs else (part,)))
    return known[id(node)]
