"""The command line: what it takes, what it prints, and what it returns."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from bad_crystals import BAD, write_bad, write_mixed
from small_systems import SMALL, cscl, small_model
from synthetic import corpus_and_task, study

from matgl_ssl import __version__
from matgl_ssl.cli import main
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.hub import save_model

ARGUMENTS = json.dumps({**SMALL["MEGNet"], "nblocks": 1})
SMALL_RUN = ["--accelerator", "cpu", "--epochs", "1", "--batch-size", "8"]
TARGET = {"name": "band_gap", "unit": "eV", "transform": None, "extensive": False}


def call(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``mgl-ssl`` as users do."""
    script = Path(sys.executable).with_name("mgl-ssl")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "matgl_ssl.cli"]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, timeout=600, cwd=cwd, env=environment, check=False
    )


@pytest.fixture(autouse=True)
def _same_logging_afterwards() -> Iterator[None]:
    ours, root = logging.getLogger("matgl_ssl"), logging.getLogger()
    before = ours.handlers[:], ours.propagate, ours.level, root.handlers[:]
    yield
    ours.handlers[:], ours.propagate, root.handlers[:] = before[0], before[1], before[3]
    ours.setLevel(before[2])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty CsCl cells with a label."""
    rng = np.random.default_rng(0)
    crystals = []
    for i in range(30):
        a = rng.uniform(3.0, 3.8)
        frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]) + rng.normal(0, 0.02, (2, 3))
        labels = {"band_gap": a - 3.0, "text": "x"}
        crystals.append(Crystal(rng.choice([11, 12, 17, 8], 2), frac, a * np.eye(3), id=f"c{i}", labels=labels))
    return CrystalDataset.from_crystals(crystals).write_parquet(tmp_path_factory.mktemp("table") / "table.parquet")


@pytest.fixture(scope="module")
def poscar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poscar") / "POSCAR"
    crystal = Crystal(np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 3.4 * np.eye(3))
    crystal.to_structure().to(filename=str(path), fmt="poscar")
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_model(small_model("MEGNet"), folder / "encoder", kind="encoder", readout="untrained")
    save_model(small_model("MEGNet"), folder / "gap", kind="model", readout="trained", target=TARGET)
    states = small_model("MEGNet", ntypes_state=4, dim_state_embedding=6, include_state=True)
    save_model(states, folder / "states", kind="model", readout="trained", target=TARGET)
    small_model("MEGNet").save(folder / "bare")
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    """A pretraining run."""
    out = tmp_path_factory.mktemp("runs") / "pre"
    done = call("pretrain", "--model", "MEGNet", "--model-args", ARGUMENTS, "--recipe", "masked-atoms", "--data", table,
                "--out", out, *SMALL_RUN)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"encoder    {out / 'encoder'}"
    assert "Pretraining MEGNet on 28 crystals" in done.stderr
    assert "epoch 1 of 1, step 4 of 4, done in " in done.stderr
    assert "GPU available" not in done.stderr
    assert "Tip" not in done.stderr
    return out


class TestMainRoad:
    """Each verb once, as a process of its own."""

    def test_pretrain_writes_what_it_was_told(self, pretrained, table):
        config = yaml.safe_load((pretrained / "config.yaml").read_text())
        assert (config["data"], config["epochs"], config["batch_size"]) == (str(table), 1, 8)
        assert config["model_args"]["nblocks"] == 1
        assert config["pretexts"][0]["name"] == "masked-atoms"

    @pytest.mark.pyg
    def test_a_recipe_says_how_its_encoders_are_fine_tuned(self, table, tmp_path):
        recipe = tmp_path / "mine.yaml"
        recipe.write_text("summary: mine\npretexts: [{name: masked-atoms}]\nfinetune: {layer_decay: 0.5}\n")
        done = call("pretrain", "--model", "MEGNet", "--model-args", ARGUMENTS, "--recipe", recipe, "--data", table,
                    "--out", tmp_path / "pre", *SMALL_RUN)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].endswith(" --out DIR --layer-decay 0.5")

    def test_finetune_then_predict(self, pretrained, table, poscar, tmp_path):
        out = tmp_path / "gap"
        done = call("finetune", "--init-from", pretrained, "--data", table, "--target", "band_gap", "--test-fraction",
                    "0.2", "--out", out, *SMALL_RUN)  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0].split() == ["model", str(out / "model")]
        assert lines[1].startswith("test MAE  ")
        assert lines[1].endswith("  eV")
        assert "mgl-ssl predict -m" in lines[2]
        for model in (out, out / "model"):
            done = call("predict", "-m", model, "--data", poscar.name, cwd=poscar.parent)
            assert done.returncode == 0, done.stderr
            words = done.stdout.split()
            assert words[:3] == ["POSCAR", "band_gap", "="]
            assert np.isfinite(float(words[3]))
            assert words[4:] == ["eV"]

    @pytest.mark.pyg
    def test_embed(self, pretrained, table, tmp_path):
        output = tmp_path / "embeddings.parquet"
        done = call(
            "embed", "-m", pretrained / "encoder", "--data", table, "--level", "atom", "--layer", 0, 1, "--out", output
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"60 vectors of 16 numbers in {output}\n"
        assert pq.read_metadata(output).num_rows == 60

    @pytest.mark.pyg
    def test_list(self):
        done = call("list", "recipes")
        assert done.returncode == 0, done.stderr
        assert {line.split()[0] for line in done.stdout.splitlines()} >= {"masked-atoms", "derivative-denoising"}
        assert done.stderr == ""

    @pytest.mark.pyg
    def test_doctor(self, tmp_path):
        done = call("doctor", "--data", write_mixed(tmp_path), "--model", "MEGNet")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("4 of 6 crystals are usable")
        assert "non-finite" in done.stdout

    def test_errors_have_a_code_and_no_traceback(self, saved, tmp_path):
        done = call("predict", "-m", saved / "gap", "--data", tmp_path / "none.cif")
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.startswith("mgl-ssl: error: ")
        assert done.stderr.count("\n") == 1

    def test_help_is_quick(self):
        call("--help")
        start = time.perf_counter()
        done = call("--help")
        assert done.returncode == 0
        assert all(verb in done.stdout for verb in ("pretrain", "finetune", "predict", "embed", "list", "doctor"))
        assert time.perf_counter() - start < 2.0  # 0.2 s on an idle machine; with torch it is 5 s


def contents(folder: Path) -> dict[str, bytes]:
    """What a run directory holds, but for the lock that whoever looks at it takes."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


class TestRuns:
    def test_resume_takes_the_data_from_the_run(self, pretrained, capsys):
        assert main(["pretrain", "--resume", "--out", str(pretrained)]) == 0
        assert capsys.readouterr().out.startswith("encoder")

    def test_a_used_directory_is_not_written_over(self, pretrained, table, capsys):
        before = contents(pretrained)
        assert main(["pretrain", "--out", str(pretrained), "--data", str(table), "--model", "MEGNet"]) == 6
        assert "is not empty" in capsys.readouterr().err
        assert contents(pretrained) == before

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["pretrain"], 3, "No data"),
            (["finetune", "--target", "band_gap"], 3, "No data"),
            (["pretrain", "--resume"], 6, "no run to resume"),
            (["pretrain", "--config", "none.yaml"], 2, "No configuration file"),
            (["finetune", "--data", "TABLE"], 2, "target"),
            (["finetune", "--data", "TABLE", "--target", "band_gab"], 3, "Did you mean 'band_gap'"),
            (["finetune", "--data", "TABLE", "--target", "text"], 3, "text"),
            (["pretrain", "--data", "TABLE", "--recipe", "masked-atom"], 2, "Did you mean 'masked-atoms'"),
            (["pretrain", "--data", "TABLE", "--model", "MEGNett"], 5, "not an architecture"),
            (["pretrain", "--data", "TABLE", "--model-args", "{cutof: 4}", "--model", "MEGNet"], 2, "'cutoff'"),
            (["pretrain", "--data", "TABLE", "--epochs", "-3"], 2, "epochs"),
            (["pretrain", "--data", "TABLE", "--val-fraction", "2"], 2, "val_fraction"),
        ],
    )
    def test_what_is_wrong_is_one_error_and_makes_no_directory(self, words, code, said, table, tmp_path, capsys):
        words = [str(table) if word == "TABLE" else word for word in words]
        assert main([*words, "--out", str(tmp_path / "out")]) == code
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("mgl-ssl: error: ")
        assert said in error
        assert not (tmp_path / "out").exists()

    def test_only_what_is_given_reaches_the_function(self, monkeypatch, tmp_path, capsys):
        import matgl_ssl.training.finetune as module

        given = {}

        def record(**options):
            given.update(options)
            raise module.DataError("stop here")

        monkeypatch.setattr(module, "finetune", record)
        file = tmp_path / "c.yaml"
        file.write_text("data: from-the-file.parquet\nlr: 0.5\n")
        words = ["--out", "o", "--config", str(file), "--lr", "1e-4", "--devices", "2", "--extensive", "-m", "M3GNet",
                 "--model-args", "{nblocks: 2}", "--patience", "7", "--loss", "mse"]  # fmt: skip
        assert main(["finetune", *words]) == 3
        assert given == {
            "out": "o", "config": str(file), "resume": False, "data": "from-the-file.parquet", "lr": 1e-4, "devices": 2,
            "extensive": True, "model": "M3GNet", "model_args": {"nblocks": 2}, "patience": 7, "loss": "mse",
        }  # fmt: skip


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["pretrain", "--epocs", "3"], "unknown option --epocs. Did you mean --epochs?"),
            (["finetune", "--int-from=x"], "unknown option --int-from. Did you mean --init-from?"),
            (["embed", "--modle", "x"], "unknown option --modle. Did you mean --model?"),
            (["predict", "--qqqqqq"], "unknown option --qqqqqq.\n"),
            (["predict", "--data", "POSCAR"], "required: -m/--model"),
            (["pretrain", "--epo", "3"], "unknown option --epo"),
            (["pretrain", "--out", "o", "--epochs", "three"], "invalid int value: 'three'"),
            (["pretrain", "--out", "o", "--schedule", "linear"], "choose from"),
            (["pretrain", "--out", "o", "--pretexts", "[{"], "not YAML or JSON"),
            (["pretrian"], "unknown verb pretrian. Did you mean pretrain? There are fit, predict, "),
            (["xyz"], "unknown verb xyz. There are fit"),
            (["--verbose"], "unrecognized arguments: --verbose"),
            (["list", "recipe"], "choose from"),
            (["list"], "required: KIND"),
            (["pretrain", "--epocs", "3"], "To see the options: mgl-ssl pretrain --help\n"),
        ],
    )
    def test_bad_usage_is_code_2_with_a_hint(self, words, said, capsys):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
        assert said in capsys.readouterr().err

    def test_the_version_is_told(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == f"mgl-ssl {__version__}\n"


class TestPredict:
    def test_one_line_a_file_unit_last(self, saved, poscar, table, capsys):
        assert main(["predict", "-m", str(saved / "gap"), "--data", str(poscar), str(table)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 31
        assert lines[0].startswith(f"{poscar}  band_gap = ")
        assert lines[1].startswith(f"{table}:c0  band_gap = ")
        assert all(line.endswith("  eV") for line in lines)

    def test_json(self, saved, poscar, capsys):
        assert main(["predict", "-m", str(saved / "gap"), "--data", str(poscar), "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found.keys() == {"id", "name", "value", "unit"}
        assert (found["id"], found["name"], found["unit"]) == (str(poscar), "band_gap", "eV")

    def test_state_labels(self, saved, poscar, capsys):
        command = ["predict", "-m", str(saved / "states"), "--data", str(poscar), str(poscar)]
        assert main([*command, "--state-attr", "2"]) == 0
        assert main([*command, "--state-attr", "2", "0"]) == 0
        values = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
        assert values[:3] == pytest.approx([values[0]] * 3, rel=1e-5)  # printed to six digits
        assert values[3] != pytest.approx(values[0], rel=1e-4)
        assert main(command) == 5
        assert main([*command, "--state-attr", "4"]) == 5
        assert capsys.readouterr().err.count("takes one of 0 to 3") == 2

    def test_backends_are_declared(self, saved, poscar, backend_name, capsys):
        command = ["predict", "-m", str(saved / "bare"), "--data", str(poscar)]
        assert main(command) == 4
        assert "--trained-with" in capsys.readouterr().err
        assert main([*command, "--trained-with", backend_name]) == 0
        assert capsys.readouterr().out.endswith("(no unit given)\n")
        assert main([*command, "--trained-with", "dgl" if backend_name == "pyg" else "pyg"]) == 4

    def test_encoders_are_refused(self, saved, poscar, capsys):
        assert main(["predict", "-m", str(saved / "encoder"), "--data", str(poscar)]) == 5
        assert "untrained" in capsys.readouterr().err

    @pytest.mark.parametrize("kind", BAD)
    def test_a_bad_crystal_is_one_error(self, saved, tmp_path, kind, capsys):
        assert main(["predict", "-m", str(saved / "gap"), "--data", str(write_bad(kind, tmp_path))]) == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("mgl-ssl: error: ") == 1
        assert "Traceback" not in captured.err

    def test_bad_files_among_good_ones_are_listed_with_their_reasons(self, saved, poscar, tmp_path, capsys):
        (tmp_path / "broken.cif").write_text("data_x\n")
        files = [str(tmp_path / "broken.cif"), str(poscar), str(write_mixed(tmp_path))]
        assert main(["predict", "-m", str(saved / "gap"), "--data", *files]) == 0
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        assert len(lines) == 8
        assert [" = " in line for line in lines] == [False, True, True, False, True, False, False, True]
        assert lines[0].startswith(f"{files[0]}  not predicted  (broken: no atoms")
        assert lines[3].startswith(f"{files[2]}:nan  not predicted  (")
        assert "4 of 8 crystals are left out" in captured.err
        assert main(["predict", "-m", str(saved / "gap"), "--data", *files, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["value"] is None for row in rows] == ["note" in row for row in rows]
        assert main(["predict", "-m", str(saved / "gap"), "--data", files[0], files[0]]) == 3
        assert "nothing left of 2 crystals: 2 unreadable; for example broken: " in capsys.readouterr().err

    def test_verbose_shows_the_traceback(self, saved, capsys):
        assert main(["predict", "-v", "-m", str(saved / "gap"), "--data", "none.cif"]) == 3
        assert "Traceback" in capsys.readouterr().err

    def test_what_is_not_ours_propagates(self, monkeypatch, saved, poscar):
        import matgl_ssl.inference as module

        monkeypatch.setattr(module, "predict", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(["predict", "-m", str(saved / "gap"), "--data", str(poscar)])


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("doctor --data", 3, "No data"),
        ("embed -m MEGNet --out e.parquet --data", 3, "No data"),
        ("predict -m MEGNet --data", 3, "No data"),
        ("finetune --target gap --out r --data", 3, "No data"),
        ("pretrain --out r --data", 3, "No data"),
        ("embed --data x.cif --out e.parquet -m", 2, "--model is empty"),
        ("finetune --target gap --out r --data x.cif --init-from", 2, "--init-from is empty"),
        ("pretrain --out r --data x.cif --exclude-formulas-of", 2, "--exclude-formulas-of is empty"),
        ("pretrain --data x.cif --out", 2, "--out is empty"),
    ],
)
def test_an_unset_variable_of_the_shell_is_not_the_working_directory(line, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cscl().to_structure().to(str(tmp_path / "x.cif"))
    assert main([*line.split(), ""]) == code
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.cif"]


class TestEmbed:
    @pytest.mark.parametrize("name", ["vectors.csv", "vectors.npz", "vectors"])
    def test_another_format_is_refused(self, saved, poscar, tmp_path, name, capsys):
        command = ["embed", "-m", str(saved / "encoder"), "--data", str(poscar), "--out", str(tmp_path / name)]
        assert main(command) == 2
        assert "Parquet. Call it vectors.parquet" in capsys.readouterr().err
        assert not (tmp_path / name).exists()

    def test_what_is_left_out_is_told(self, saved, tmp_path, capsys):
        output = tmp_path / "out.parquet"
        command = ["embed", "-m", str(saved / "encoder"), "--data", str(write_mixed(tmp_path)), "--out", str(output)]
        assert main([*command, "--layer", "readout"]) == 0
        said = capsys.readouterr().err
        assert "3 of 6 crystals are left out: 1 non-finite, 1 too-close, 1 unknown-element; for example nan: " in said
        assert f"{output}.skipped.json" in said
        content = output.read_bytes()
        assert main(command) == 2
        assert "not overwritten" in capsys.readouterr().err
        assert output.read_bytes() == content

    def test_layers_are_checked(self, saved, poscar, tmp_path, capsys):
        command = ["embed", "-m", str(saved / "gap"), "--data", str(poscar), "--out", str(tmp_path / "out.parquet")]
        assert main([*command, "--layer", "9"]) == 2
        assert "takes 0, 1, 2, 3 or readout" in capsys.readouterr().err


class TestDoctorAndList:
    def test_nothing_left_is_an_error(self, tmp_path, capsys):
        assert main(["doctor", "--data", str(write_bad("nan", tmp_path))]) == 3
        said = capsys.readouterr()
        assert "0 of 1 crystals are usable" in said.out
        assert "non-finite" in said.out
        assert "No crystal can be used for training" in said.err

    @pytest.mark.parametrize(("what", "name"), [("pretexts", "masked-atoms"), ("encoders", "MEGNet")])
    def test_list(self, what, name, capsys):
        assert main(["list", what]) == 0
        assert any(line.startswith(f"{name}  ") for line in capsys.readouterr().out.splitlines())


class TestBenchmark:
    def test_failed_cells_are_an_error_and_a_mere_report_is_none(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("MATGL_SSL_DATA", str(tmp_path))
        corpus_and_task(tmp_path)
        rounds = [{"tasks": ["size"], "arms": ["trivial"], "labels": [16, 5000], "seeds": [0]}]
        path = tmp_path / "sizes.yaml"
        path.write_text(yaml.safe_dump(study(tmp_path, rounds=rounds)))
        command = ["benchmark", str(path), "--runs", str(tmp_path / "runs")]
        assert main([*command, "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["runs"] == 2
        assert not (tmp_path / "runs").exists()
        assert main(command) == 1
        said = capsys.readouterr()
        assert "unfinished 1 runs" in said.out
        assert "Some runs failed" in said.err
        assert main([*command, "--only", "{n_labels: 16}"]) == 0
        assert main([*command, "--report-only"]) == 0
