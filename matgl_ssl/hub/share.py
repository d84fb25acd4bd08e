"""Send models to the Hugging Face hub, and fetch them from there."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd

from matgl_ssl._folders import atomic_folder
from matgl_ssl.boundary import verb
from matgl_ssl.errors import ConfigError, ModelError, ResourceError

from .card import model_card, published
from .files import ModelFiles
from .remote import CARD, api, fetch, hub_errors, split_name
from .resolve import resolve
from .stamp import check_digest, stamp_of


@verb
def push(
    run: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    license: str | None = None,
    data_license: str | None = None,
) -> str:
    """Send a saved model and its card to the Hugging Face hub; the repository is made if there is none.

    The token is that of ``hf auth login`` or of the environment variable ``HF_TOKEN``. Files beside the model's and its
    card stay at home. A card that was edited after the export is sent as it is.

    Args:
        run: A run directory (of several exports, ``model`` goes before ``potential`` before ``encoder``) or a model
            directory.
        repo: ``OWNER/NAME``.
        private: Whether a new repository is private.
        revision: A branch to send to, made if there is none (default: ``main``).
        message: The commit's message.
        license: The model's licence, as the hub names it (``cc-by-4.0``), for the card.
        data_license: The licence of the training data, for the card.

    Returns:
        Address of the commit.

    Raises:
        ModelError: If there is no such model here, it has no stamp, or its files were changed after it was saved.
        HubError: If the hub cannot be reached, or does not let you write there.
        ConfigError: If ``repo`` is no name.
    """
    name = split_name(repo)
    if name is None or name[1]:
        raise ConfigError(f"{repo!r} is no name on the hub: give OWNER/NAME, and a branch with --revision.")
    if not Path(run).exists():
        raise ModelError(f"There is nothing to push at {run}. Give a run directory or a model directory.")
    files = ModelFiles.read(resolve(run))
    stamp = stamp_of(files.description)
    if not stamp:
        raise ModelError(
            f"{run} carries no matgl_ssl stamp, so its graph library would be unknown. Load it with "
            "matgl_ssl.load_model(..., trained_with=...) and save it with matgl_ssl.save_model first."
        )
    check_digest(str(run), files, stamp)
    card = files.folder / CARD
    text = card.read_text(encoding="utf-8") if card.exists() else model_card(stamp)
    text = published(text, repo, license, data_license)
    content = {**files.content, CARD: text.encode()}  # what was checked is what is sent
    with hub_errors(repo, revision, lost="Connect to the network, and push again."):
        client = api()
        client.create_repo(repo, private=private, exist_ok=True)
        if revision:
            client.create_branch(repo, branch=revision, exist_ok=True)
        commit = client.create_commit(
            repo,
            [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in content.items()],
            commit_message=message or f"{stamp.get('kind', 'model')} saved by matgl_ssl",
            revision=revision,
        )
    return str(commit.commit_url)


@verb
def pull(name: str, *, out: str | Path | None = None) -> Path:
    """Fetch a model's newest files from the hub into the cache, and check them.

    Whatever takes a model takes its name as well, and then looks into the cache first.

    Args:
        name: ``OWNER/NAME``, or ``OWNER/NAME@REVISION`` for a branch, a tag or a commit.
        out: A folder to copy the model to, new or empty.

    Returns:
        The folder that holds the model: ``out``, or one in the cache.

    Raises:
        HubError: If there is no such model, it may not be read, or the hub cannot be reached and the cache lacks it.
        ModelError: If its files are not those that were saved.
        ConfigError: If ``name`` is none.
        ResourceError: If ``out`` is in use.
    """
    found = split_name(name)
    if found is None:
        raise ConfigError(f"{name!r} is no name on the hub: give OWNER/NAME or OWNER/NAME@REVISION.")
    if out is not None and Path(out).exists() and any(Path(out).iterdir()):
        raise ResourceError(f"{out} is not empty. Give another --out.")
    folder = fetch(*found, newest=True)
    try:
        _check(name, folder)
    except ModelError:  # the cache may be what is damaged
        folder = fetch(*found, again=True)
        _check(name, folder)
    if out is None:
        return folder
    out = Path(out)
    with atomic_folder(out) as partial:
        partial.mkdir(parents=True)
        for file in folder.iterdir():
            (partial / file.name).write_bytes(file.read_bytes())
    return out


def _check(name: str, folder: Path) -> None:
    files = ModelFiles.read(folder)
    check_digest(name, files, stamp_of(files.description))
