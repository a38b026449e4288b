"""The command line as a process: quick help, a lazy package, the README's three lines."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import small_corpora

README = (Path(__file__).parent.parent / "README.md").read_text()


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("arguments", [["-c", "import bachkeras"], ["-m", "bachkeras", "--help"]])
def test_nothing_heavy_is_imported_for_help(arguments):
    loaded = python("-X", "importtime", *arguments)
    assert loaded.returncode == 0, loaded.stderr
    assert "bachkeras._lazy" in loaded.stderr
    assert not re.search(r"\| +(tensorflow|keras|numpy|mido|music21)$", loaded.stderr, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["-c", "import bachkeras"], ["-m", "bachkeras", "--help"]])
def test_help_answers_in_half_a_second(arguments):
    def seconds():
        start = time.perf_counter()
        python(*arguments)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.5


def test_the_package_is_lazy_but_complete():
    code = (
        "import bachkeras; assert 'tensorflow' not in __import__('sys').modules; print(bachkeras.models.LSTMAttention)"
    )
    assert "LSTMAttention" in python("-c", code).stdout


def test_an_unknown_command_exits_2():
    result = python("-m", "bachkeras", "compose")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--melody", "nowhere.mid"], "Cannot read 'nowhere.mid': No such file"),
        (["--bars", "2"], "--bars goes with --inpaint alone. Received: bars='2'"),
        (["--instrument", "kazoo"], "Received: "),
        (["--out", __file__], "no folder"),
    ],
)
def test_bad_input_is_refused_before_tensorflow_is_imported(arguments, message):
    code = "import sys; from bachkeras import cli; print(cli.main(sys.argv[1:]), 'tensorflow' in sys.modules)"
    result = python("-c", code, "generate", "--model", "nowhere", *arguments)
    assert result.stdout == "2 False\n"
    assert message in result.stderr


def test_data_imports_no_tensorflow():
    code = "import bachkeras.data.sources, sys; assert 'tensorflow' not in sys.modules"
    assert python("-c", code).returncode == 0


@pytest.mark.slow
def test_the_readmes_python_runs(monkeypatch, tmp_path):
    """On small data and narrow models."""
    import bachkeras
    from bachkeras.data import catalog
    from bachkeras.models import LSTMGAN, LSTMVAE, VQVAE, LSTMAttention

    monkeypatch.chdir(tmp_path)
    corpus = small_corpora()["train"]
    monkeypatch.setattr(catalog, "load", lambda name, split: corpus)
    preset, first, then, voices, trained, latent, coded, played = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(preset, names)
    assert [score.keys[0].tonic for score in names["scores"]] == [2] * 4
    assert (tmp_path / "exported" / "1" / "saved_model.pb").exists()
    monkeypatch.setattr(bachkeras.models, "LSTMAttention", lambda hidden, **more: LSTMAttention(16, **more))
    monkeypatch.setattr(bachkeras.models, "LSTMVAE", lambda **more: LSTMVAE(16, **more))
    monkeypatch.setattr(bachkeras.models, "VQVAE", lambda **more: VQVAE(16, prior_hidden=16, **more))
    monkeypatch.setattr(bachkeras.models, "LSTMGAN", lambda *names, **more: LSTMGAN(*names, hidden=8, **more))
    with pytest.warns(UserWarning, match="shuffle=True"):  # Keras says so of every dataset.
        exec(first, names)
    exec(then, names)
    assert names["more"]["pianoroll"].shape == (2, 32, 88)
    exec(voices, names)
    assert next(iter(names["ds"]))["voices"].shape[-1] == 4
    monkeypatch.setattr(bachkeras, "load", lambda path: names["model"], raising=False)
    exec(trained, names)
    assert np.all(names["music"]["events"][:, :, 0] == 51)
    assert names["music"]["onsets"].shape == (2, 64, 4)
    with pytest.warns(UserWarning, match="shuffle=True"):
        exec(latent, names)
    assert names["again"].shape == (2, 16, 88)
    assert names["music"]["events"].shape == (5, 16, 4)
    assert names["vector"].shape == (32,)
    assert names["bound"].shape == (2,)
    with pytest.warns(UserWarning, match="shuffle=True"):
        exec(coded, names)
    assert names["codes"].shape[::2] == (2, 4)
    assert names["again"].shape == (*names["batch"]["mask"].shape, 88)
    assert names["music"]["events"].shape == (2, 4 * names["codes"].shape[1], 4)
    assert names["more"]["events"].shape == (2, 32, 4)
    assert names["bound"].shape == (2,)
    with pytest.warns(UserWarning, match="shuffle=True"):
        exec(played, names)
    assert names["music"]["pianoroll"].shape == (4, 64, 88)
    assert names["scores"].shape[0] > 1
