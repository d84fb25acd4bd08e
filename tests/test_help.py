"""The help of every verb: short and whole, in groups, in plain words; and completion by the shell."""

from __future__ import annotations

import re
import shutil
import subprocess

import prose
import pytest

from matgl_ssl.cli import main
from matgl_ssl.ensemble.config import FitConfig
from matgl_ssl.evaluation.benchmarking import BenchmarkOptions
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig
from matgl_ssl.verbs import GROUPS, VERBS

CONFIGS = {"pretrain": PretrainConfig, "finetune": FinetuneConfig, "fit": FitConfig, "benchmark": BenchmarkOptions}
LONGEST = 230
"""Characters of an option's help."""


@pytest.fixture
def shown(capsys, monkeypatch):
    """What a command line prints before it ends with 0."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0
        return capsys.readouterr().out

    return run


def options(text: str) -> dict[str, str]:
    """The help of each option, on one line."""
    entries = re.split(r"\n  (?=-)", text)[1:]
    return {e.split()[0].rstrip(","): " ".join(e.split("\n\n")[0].split()) for e in entries}


def test_alone_it_shows_the_verbs_in_groups(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for title, verbs in GROUPS.items():
        _, _, rest = text.partition(f"\n{title}:\n")
        assert [line.split()[0] for line in rest.splitlines()[: len(verbs)]] == list(verbs)
    assert "--print-completion bash" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("verb", VERBS)
def test_a_short_help_has_at_most_five_options_of_its_own_and_an_example_that_parses(verb, shown):
    text = shown(verb, "--help")
    every = shown(verb, "--help-all") if VERBS[verb].first else text
    own = options(text).keys() - {"--json", "--csv", "--dry-run", "-v", "-h", "--help-all"}
    assert len(own) <= (5 if VERBS[verb].first else 8)
    assert options(text).keys() <= options(every).keys()
    assert VERBS[verb].example in text
    assert max(map(len, text.splitlines())) <= 100
    if VERBS[verb].first:
        assert f"further options: mgl-ssl {verb} --help-all" in text


@pytest.mark.parametrize("verb", VERBS)
def test_an_example_is_a_command_that_the_parser_takes(verb):
    from matgl_ssl.cli import _parsers

    program, *words = VERBS[verb].example.split()
    assert program == "mgl-ssl"
    assert _parsers(wanted=[verb])[0].parse_args(words).verb == verb


@pytest.mark.parametrize("verb", CONFIGS)
def test_every_field_has_an_option_with_a_default_in_words(verb, shown):
    found = options(shown(verb, "--help-all"))
    for name in CONFIGS[verb].model_fields:
        text = found[f"--{name.replace('_', '-')}"]
        assert re.search(r"\[(required|default: \S.*)\]$", text), text
        assert "None" not in text
        assert "[default: ]" not in text
    titles = [name for names in CONFIGS[verb].SECTIONS.values() for name in names]
    assert sorted(titles) == sorted(CONFIGS[verb].model_fields)


def test_defaults_say_what_they_are(shown):
    text = " ".join(shown("pretrain", "--help-all").split())
    assert "[default: 2 x average batch, at least 30,000]" in text
    assert "[default: 0.001]" in text
    assert "{cosine,constant}" in text
    assert "(Å) [default: 0.5]" in text
    assert "depth-lr-factor" not in shown("finetune", "--help-all")


def test_the_old_name_of_an_option_still_works(capsys):
    from matgl_ssl.cli import _parsers

    words = ["finetune", "--out", "o", "--depth-lr-factor", "0.5"]
    assert _parsers(wanted=["finetune"])[0].parse_args(words).layer_decay == 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_in_the_fields_words(verb, shown):
    texts = {
        **options(shown(verb, "--help-all") if VERBS[verb].first else shown(verb, "--help")),
        "": VERBS[verb].summary,
    }
    for option, text in texts.items():
        assert len(text) <= LONGEST, option
        found = [word[0] for private in prose.PRIVATE if (word := private.search(text))]
        assert not found, (option, found)


def test_bash_completes_verbs_and_options(capsys, tmp_path):
    assert main(["--print-completion", "bash"]) == 0
    script = tmp_path / "complete.sh"
    script.write_text(capsys.readouterr().out)
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    ask = f'source {script}; COMP_WORDS=(mgl-ssl fine); COMP_CWORD=1; _shtab_mgl_ssl; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run([bash, "-c", ask], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["finetune"], done.stderr
