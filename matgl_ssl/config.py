"""Closed schemas for options: what YAML files, command-line flags and Python keywords have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from matgl_ssl.errors import ConfigError, unknown
from matgl_ssl.formats import upgrade
from matgl_ssl.renamed import current_options


class Config(BaseModel):
    """Base of all configurations: unknown keys are errors."""

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
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 ({err}): save it as UTF-8 (PowerShell's > writes UTF-16).") from err
    except yaml.YAMLError as err:
        raise ConfigError(f"{path} is not YAML: {err}") from err
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of options, not {type(content).__name__}.")
    return upgrade("config", content, path) if "format" in content else content  # a run's, or one written by hand
