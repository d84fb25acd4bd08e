"""Models go to the hub and come back: the real client, and a server on this machine that speaks the hub's protocol."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import huggingface_hub
import pytest
import yaml
from hub_server import TOKEN, running
from small_systems import small_model

from matgl_ssl import load_model, pull, push, read_stamp, save_model
from matgl_ssl.errors import ConfigError, HubError, ModelError, ResourceError
from matgl_ssl.hub import remote
from matgl_ssl.hub.files import FILES
from matgl_ssl.hub.resolve import resolve

NAME = "someone/gap"
TARGET = {"name": "gap", "unit": "eV", "transform": None, "extensive": False}


@pytest.fixture
def hub():
    with running() as server:
        yield server


@pytest.fixture
def client(hub, tmp_path, monkeypatch):
    """This process, with the hub's client pointed to the server, a token, and an empty cache."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    files = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(remote, "MATGL_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return tmp_path / "cache"


def saved(path, seed=0, **facts):
    return save_model(small_model("MEGNet", seed=seed), path, kind="model", readout="trained", target=TARGET, **facts)


@pytest.fixture
def model(tmp_path):
    return saved(tmp_path / "model")


def weight(path):
    return float(next(load_model(path).parameters()).sum())


def environment(hub, tmp_path, **more):
    """That of another process with the same hub and a home of its own."""
    own = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HOME": str(tmp_path)}
    own |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return os.environ | own | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


def mgl_ssl(arguments, **options):
    command = [sys.executable, "-m", "matgl_ssl.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)


def test_what_is_pushed_is_what_is_pulled(hub, client, model, tmp_path):
    (model / "notes.txt").write_text("stay at home")
    url = push(model, NAME, message="the first one", license="cc-by-4.0")
    assert url.startswith(f"{hub.address}/{NAME}/commit/")
    assert set(hub.files(NAME)) == {*FILES, "README.md"}
    folder = pull(NAME, out=tmp_path / "copy")
    assert folder == tmp_path / "copy"
    assert all((folder / name).read_bytes() == (model / name).read_bytes() for name in FILES)
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert weight(folder) == weight(model) == weight(NAME)
    assert read_stamp(NAME) == read_stamp(model)
    with pytest.raises(ResourceError, match="is not empty"):
        pull(NAME, out=tmp_path / "copy")


def test_the_command_line_does_the_same(hub, model, tmp_path):
    options = {"env": environment(hub, tmp_path), "cwd": tmp_path}
    done = mgl_ssl(["push", "model", NAME, "--private", "--revision", "trial"], **options)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert hub.repos[NAME].private
    assert set(hub.files(NAME, "trial")) == {*FILES, "README.md"}
    assert not hub.files(NAME)
    done = mgl_ssl(["pull", f"{NAME}@trial", "--out", "here"], **options)
    assert (done.returncode, done.stdout) == (0, "model  here\n"), done.stderr
    assert weight(tmp_path / "here") == weight(model)


def test_a_push_makes_the_repository_once_and_sends_only_what_changed(hub, client, model):
    push(model, NAME)
    sent = len(hub.seen)
    push(model, NAME)
    assert ("PUT", "/store/") not in {(method, path[:7]) for method, path in hub.seen[sent:]}
    assert len(hub.repos[NAME].commits) == 2
    assert not hub.repos[NAME].private


def test_revisions_are_models_of_their_own(hub, client, tmp_path):
    first, second = saved(tmp_path / "first", 0), saved(tmp_path / "second", 1)
    push(first, NAME)
    hub.repos[NAME].refs["v1"] = hub.repos[NAME].refs["main"]
    commit = hub.repos[NAME].refs["main"]
    push(second, NAME)
    assert weight(f"{NAME}@v1") == weight(f"{NAME}@{commit}") == weight(first)
    assert weight(NAME) == weight(second)
    with pytest.raises(HubError, match="has no revision 'v2'"):
        resolve(f"{NAME}@v2")


def test_a_name_stays_what_it_was_until_it_is_pulled(hub, client, tmp_path):
    first, second = saved(tmp_path / "first", 0), saved(tmp_path / "second", 1)
    push(first, NAME)
    assert weight(NAME) == weight(first)
    push(second, NAME)
    asked = len(hub.seen)
    assert weight(NAME) == weight(first)
    assert len(hub.seen) == asked
    assert weight(pull(NAME)) == weight(NAME) == weight(second)


def test_an_interrupted_download_goes_on(hub, client, model, caplog):
    push(model, NAME)
    hub.cut_after = 3000
    assert weight(NAME) == weight(model)
    assert any(method == "GET" and path.startswith("/store/") for method, path in hub.seen)
    assert hub.cut_after is None


def test_a_download_that_was_killed_is_made_again(hub, client, model):
    push(model, NAME)
    repo = client / "models--someone--gap"
    resolve(NAME)
    (link,) = repo.rglob("state.pt")
    blob = link.resolve()
    blob.with_suffix(".incomplete").write_bytes(blob.read_bytes()[:100])
    blob.unlink()
    link.unlink()
    assert weight(NAME) == weight(model)


def test_without_a_network_the_cache_does(hub, client, model, monkeypatch):
    push(model, NAME)
    resolve(NAME)
    hub.shutdown()
    hub.server_close()
    assert weight(NAME) == weight(model)
    assert weight(pull(NAME)) == weight(model)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert weight(pull(NAME)) == weight(model)
    with pytest.raises(HubError, match=r"cannot be reached.*someone/other is not in the cache"):
        resolve("someone/other")


@contextlib.contextmanager
def deaf():
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("how", ["nobody there", "no answer", "offline"])
def test_without_a_network_and_a_cache_it_is_asked_once(tmp_path, client, monkeypatch, how):
    """Within ten seconds: one connection, one answer waited for."""
    constants = huggingface_hub.constants
    assert 2 * remote._PATIENCE <= 10
    with deaf() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address if how == "no answer" else "http://127.0.0.1:9")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "offline")
        monkeypatch.setattr(remote, "_PATIENCE", 0.2)
        with pytest.raises(HubError, match=r"The hub cannot be reached .*someone/gap is not in the cache.*OFFLINE"):
            load_model(NAME)
        with pytest.raises(HubError, match="The hub cannot be reached"):
            pull(NAME)


def test_two_processes_fill_one_cache(hub, model, tmp_path):
    code = "from matgl_ssl import load_model; print(float(next(load_model('someone/gap').parameters()).sum()))"
    env = environment(hub, tmp_path)
    assert mgl_ssl(["push", model, NAME], env=env).returncode == 0
    command, options = [sys.executable, "-c", code], {"env": env, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    found = {process.communicate(timeout=300)[0].strip() for process in both}
    assert found == {str(weight(model))}


@pytest.mark.parametrize("token", ["hf_wrong", ""])
def test_a_wrong_token_or_none_says_how_to_log_in(hub, client, model, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=r"hf auth login.*HF_TOKEN.*settings/tokens"):
        push(model, NAME)
    with pytest.raises(HubError, match=r"hf auth login.*HF_TOKEN"):
        pull(NAME)
    assert NAME not in hub.repos


def test_a_place_of_somebody_else_says_what_the_token_lacks(hub, client, model):
    with pytest.raises(HubError, match=r"token does not allow this with else/gap.*that may write there"):
        push(model, "else/gap")


def test_a_private_model_needs_the_token(hub, client, model, monkeypatch):
    push(model, NAME, private=True)
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(HubError, match=r"has no model 'someone/gap', or it is private.*hf auth login"):
        resolve(NAME)


def test_a_repository_that_is_none_of_ours(hub, client, model):
    with pytest.raises(HubError, match=r"'someone/nothing' is not a local path.*hub has no model"):
        load_model("someone/nothing")
    push(model, NAME)
    hub.repos[NAME].commit("main", {"README.md": (b"# words", False)})
    with pytest.raises(ModelError, match=r"holds no MatGL model \(it lacks model.pt, state.pt, model.json\)"):
        load_model(NAME)


def test_a_file_that_was_changed_on_the_hub_is_refused(hub, client, model, tmp_path):
    push(model, NAME)
    hub.tamper(NAME, "state.pt", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match="incomplete or were changed"):
        pull(NAME, out=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ModelError, match="incomplete or were changed"):
        load_model(NAME)


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(hub, client, model):
    push(model, NAME)
    damaged = resolve(NAME) / "state.pt"
    damaged.resolve().write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="incomplete or were changed"):
        load_model(NAME)
    assert weight(pull(NAME)) == weight(NAME) == weight(model)


@pytest.mark.parametrize("name", ["gap", "a/b/c", "some one/gap", "-/gap", "someone/gap@", ""])
def test_names_that_are_none(client, model, name):
    with pytest.raises(ConfigError, match="is no name on the hub"):
        push(model, name)
    with pytest.raises(ConfigError, match="is no name on the hub"):
        pull(name)


def test_what_cannot_be_pushed(hub, client, model, tmp_path):
    with pytest.raises(ModelError, match="nothing to push at"):
        push(tmp_path / "nowhere", NAME)
    (model / "state.pt").write_bytes(b"")
    with pytest.raises(ModelError, match="incomplete or were changed"):
        push(model, NAME)
    small_model("MEGNet").save(tmp_path / "plain")
    with pytest.raises(ModelError, match="carries no matgl_ssl stamp"):
        push(tmp_path / "plain", NAME)
    assert not hub.repos


def test_the_card_on_the_hub_names_the_model_and_its_licence(hub, client, model):
    push(model, NAME, license="cc-by-4.0", data_license="ODbL")
    card = hub.files(NAME)["README.md"].decode()
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["license"], metadata["library_name"]) == ("cc-by-4.0", "matgl")
    assert f'model="{NAME}"' in card
    assert "| Licence of the training data | ODbL |" in card
    assert "THIS_MODEL" not in card
    assert "hf_right" not in card


def test_a_card_that_was_edited_is_kept(hub, client, model):
    (model / "README.md").write_text("---\nlanguage: en\n---\nMy own words on THIS_MODEL.\n")
    push(model, NAME)
    assert hub.files(NAME)["README.md"].decode() == f"---\nlanguage: en\n---\nMy own words on {NAME}.\n"
