"""Models on the Hugging Face hub: from a name to files in the cache, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub import errors as hub
from matgl.config import MATGL_CACHE

from matgl_ssl._files import writing
from matgl_ssl._version import __version__
from matgl_ssl.errors import HubError

from .files import FILES

logger = logging.getLogger(__name__)

CARD = "README.md"
"""Where the hub, and we, keep a model's card."""

_NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w\-.]*/[\w\-.]+)(@(?P<revision>[\w\-./]+))?")
_PATIENCE = 5.0
"""Seconds to connect, and to wait for an answer, before the hub counts as out of reach."""

_UNREACHABLE = {"TransportError", "ConnectionError", "Timeout", "OfflineModeIsEnabled", "LocalEntryNotFoundError"}
"""Names of errors: of httpx, requests or Python, as the client's version has it."""

_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token from https://huggingface.co/settings/tokens"


_NOT_HERE = (
    "{repo} is not in the cache, {cache}. Connect to the network (and unset HF_HUB_OFFLINE), or copy the model's "
    "folder from elsewhere and give its path."
)


def split_name(name: str) -> tuple[str, str | None] | None:
    """Repository and revision of ``OWNER/NAME`` or ``OWNER/NAME@REVISION``; None for what is neither."""
    found = _NAME.fullmatch(name)
    return (found["repo"], found["revision"]) if found else None


def api() -> HfApi:
    """The hub's client. It finds the token itself: in ``HF_TOKEN``, or where ``hf auth login`` left it."""
    return HfApi(library_name="matgl_ssl", library_version=__version__)


def fetch(repo: str, revision: str | None = None, *, newest: bool = False, again: bool = False) -> Path:
    """The folder of a hub's model in MatGL's cache, downloaded if it is not there.

    Args:
        repo: ``OWNER/NAME``.
        revision: Branch, tag or commit.
        newest: Ask the hub even if the cache has the model; without a network the cache will do.
        again: Download also what the cache has.

    Raises:
        HubError: If it is neither there nor here.
    """
    cache = str(MATGL_CACHE)
    if not (newest or again):
        try:
            return _from_cache(repo, revision, cache)
        except hub.LocalEntryNotFoundError:
            pass
    try:
        with writing(Path(cache)), hub_errors(repo, revision, lost=_NOT_HERE.format(repo=repo, cache=cache)):
            # Asked once, and briefly: the client's own downloads wait and try again for minutes.
            api().model_info(repo, revision=revision, timeout=_PATIENCE)
            folder = snapshot_download(
                repo, revision=revision, cache_dir=cache, allow_patterns=[*FILES, CARD], force_download=again
            )
    except HubError as err:
        if newest and not again and _is_unreachable(err.__cause__):
            with contextlib.suppress(hub.LocalEntryNotFoundError):
                folder = str(_from_cache(repo, revision, cache))
                logger.warning("The hub cannot be reached: %s is the copy that was fetched before.", repo)
                return Path(folder)
        raise
    if missing := [name for name in FILES if not (Path(folder) / name).is_file()]:
        raise HubError(f"{repo} on the hub holds no MatGL model (it lacks {', '.join(missing)}).")
    return Path(folder)


def _from_cache(repo: str, revision: str | None, cache: str) -> Path:
    files = [hf_hub_download(repo, f, revision=revision, cache_dir=cache, local_files_only=True) for f in FILES]
    return Path(files[0]).parent


@contextlib.contextmanager
def hub_errors(repo: str, revision: str | None = None, *, lost: str) -> Iterator[None]:
    """Turn what the hub's client raises into a ``HubError`` that says what to do.

    Args:
        repo: The repository that is asked for.
        revision: The revision.
        lost: What to do if the hub cannot be reached.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as err:
        said = _reason(err, repo, revision)
        if said is None and _is_unreachable(err):
            said = f"The hub cannot be reached ({f'{type(err).__name__}: {err}'.splitlines()[0]}). {lost}"
        if said:
            raise HubError(said) from err
        raise


def _is_unreachable(err: BaseException | None) -> bool:
    return bool(_UNREACHABLE & {cls.__name__ for cls in type(err).__mro__})


def _reason(err: Exception, repo: str, revision: str | None) -> str | None:
    """What happened, and the way out; None for what is no matter of the hub's."""
    response: Any = getattr(err, "response", None)
    status = getattr(response, "status_code", None)
    bad_token = status == 401 and "credentials" in response.headers.get("X-Error-Message", "").lower()
    if bad_token or isinstance(err, hub.LocalTokenNotFoundError):
        return f"The hub does not accept your token, or there is none. {_LOG_IN}."
    if isinstance(err, hub.GatedRepoError):
        return f"{repo} asks you to accept its terms first: https://huggingface.co/{repo}. {_LOG_IN}."
    if isinstance(err, hub.RepositoryNotFoundError):
        return f"The hub has no model {repo!r}, or it is private and not yours to read. {_LOG_IN} if it is private."
    if isinstance(err, hub.RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}: see https://huggingface.co/{repo}/commits/main."
    if status in (401, 403):
        return f"Your token does not allow this with {repo}. {_LOG_IN} that may write there."
    if status is not None:
        return f"The hub failed ({err}). Try again later."
    if isinstance(err, hub.HFValidationError):
        return f"{repo!r} is no name on the hub: it is OWNER/NAME. ({err})"
    return None
