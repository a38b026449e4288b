"""A run that is broken off, in every way and at every moment, and gone on with; a run that goes on from another's."""

import csv
import itertools
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import small_corpora
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import bachkeras
from bachkeras import _files as files
from bachkeras import cli
from bachkeras.data import catalog
from bachkeras.evaluation import likelihood
from bachkeras.music import saving
from bachkeras.training import callbacks, checkpoint, config, directory, interrupt, run
from bachkeras.training.checkpoint import Progress

CONFIG = """
[model]
hidden = 8
layers = 1
attention_heads = 2
dropout = 0.1
frame_dropout = 0.2
[frame]
units = 8
reach = 5
dropout = 0.1
[data]
window = 8
batch_size = 4
transpose = 2
[training]
epochs = 4
learning_rate = 1e-2
"""
MONITOR = Progress().monitor
FILES = ["config.json", "evaluation.json", "history.csv", "logs", "model.keras", "samples"]


class Broken(Exception):
    """What ends a run in these tests."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: small_corpora(name, voices=2)[split])


@pytest.fixture(scope="module")
def toml(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def unbroken(toml, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A run that nothing disturbed, and all that was in memory in its end: weights, moments, random seeds."""
    out = tmp_path_factory.mktemp("runs") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: small_corpora(name, voices=2)[split])
        last = last_checkpoint(patch)
        run.train("lstm-attention", config.read("lstm-attention", toml), out, seed=1)
    return out, last


def last_checkpoint(patch) -> dict[str, np.ndarray]:
    """Where the variables of the last checkpoint will be, after the run has removed the file."""
    values, write = {}, checkpoint.write

    def spy(path, model, progress):
        write(path, model, progress)
        with np.load(path) as content:
            values.update({name: content[name] for name in content.files if name != "state"})

    patch.setattr(checkpoint, "write", spy)
    return values


def copy_killed(patch, out: Path, killed: dict[int, Path]) -> None:
    """After some epochs, what is left of a run that is killed then is copied: a folder by the number of epochs."""
    write = checkpoint.write

    def copying(path, model, progress):
        write(path, model, progress)
        if len(progress.rows) in killed:
            shutil.copytree(out, killed[len(progress.rows)])

    patch.setattr(checkpoint, "write", copying)


def history(out: Path) -> list[dict[str, str]]:
    """The rows of history.csv without the seconds."""
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def curve(folder: Path) -> dict[int, float]:
    """The loss by epoch, as TensorBoard reads it."""
    events = EventAccumulator(str(folder)).Reload().Tensors("epoch_loss")
    found = {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events}
    assert [*found] == sorted(found)
    return found


def evaluated(out: Path) -> list[dict]:
    rows = json.loads((out / "evaluation.json").read_text())
    return [{name: value for name, value in row.items() if name not in ("model", "train_minutes")} for row in rows]


def check_same(out: Path, other: Path):
    """A finished run is what another one is, to the last bit, and nothing is left over."""
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert history(out) == history(other)
    assert evaluated(out) == evaluated(other)
    for mine, theirs in zip(bachkeras.load(out).weights, bachkeras.load(other).weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for name, column in (("train", "loss"), ("validation", "val_loss")):
        wanted = {epoch: float(row[column]) for epoch, row in enumerate(history(out)) if row[column]}
        assert curve(out / "logs" / name) == pytest.approx(wanted)
    for name in ("001.mid", "004.mid"):
        assert (out / "samples" / name).read_bytes() == (other / "samples" / name).read_bytes()


def broken_after(times: int, function):
    """A function that works so many times, and then breaks in the middle of its work."""
    calls = itertools.count()

    def wrapped(*arguments, **options):
        if next(calls) < times:
            return function(*arguments, **options)
        for argument in arguments:
            if isinstance(argument, Path) and argument.parent.name.startswith(files.UNFINISHED):
                argument.write_bytes(b"half a file")
        raise Broken

    return wrapped


MOMENTS = {
    "before the first epoch": (callbacks.Curves, "on_train_begin", 0),
    "while the first checkpoint is written": (np, "savez", 0),
    "between the checkpoint and the best model": (callbacks, "save", 0),
    "while history.csv is written": (csv.DictWriter, "writerows", 1),
    "after the last epoch, before its curves": (callbacks.Curves, "on_epoch_end", 0),
    "in evaluation": (likelihood, "log_probs", 0),
    "while the samples are written": (saving.midi, "write", 1),
}


@pytest.mark.slow
def test_broken_off_everywhere_it_becomes_the_same_run(unbroken, toml, tmp_path, monkeypatch, capsys):
    """One run, broken off seven times."""
    out = tmp_path / "run"
    command = ["train", "lstm-attention", "--config", str(toml), "--seed", "1", "--out", str(out), "--resume"]
    last = last_checkpoint(monkeypatch)
    for moment, (owner, name, times) in MOMENTS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, broken_after(times, getattr(owner, name)))
            with pytest.raises(Broken):
                cli.main(command)
        left = {path.name for path in out.iterdir()}
        assert left <= {*FILES, checkpoint.NAME}, moment
        assert "Go on with: bachkeras train lstm-attention" in capsys.readouterr().out
    assert cli.main(command) == 0
    check_same(out, unbroken[0])
    assert last.keys() == unbroken[1].keys()
    for name, value in last.items():
        np.testing.assert_array_equal(value, unbroken[1][name])
    run.resume(out)
    assert "is finished" in capsys.readouterr().out


def test_what_a_killed_process_left_is_removed(unbroken, tmp_path, toml, monkeypatch):
    out = tmp_path / "run"
    (tmp_path / ".unfinished.run" / "run").mkdir(parents=True)  # While the directory was made.
    monkeypatch.setattr(run, "fit", broken_after(0, run.fit))
    with pytest.raises(Broken):
        run.train("lstm-attention", config.read("lstm-attention", toml), out, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    (out / ".unfinished.model.keras").mkdir()
    (out / ".unfinished.model.keras" / "tmp123").write_text("half a file")
    (tmp_path / ".unfinished.run").mkdir()  # Just after it was made.
    monkeypatch.chdir(out)
    with pytest.raises(Broken):
        run.resume(Path("."))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in out.iterdir()) == [checkpoint.NAME, "config.json"]


def test_a_broken_checkpoint_and_a_second_process_are_told(tmp_path, toml, monkeypatch, capsys):
    out = tmp_path / "run"
    monkeypatch.setattr(run, "fit", broken_after(0, run.fit))
    with pytest.raises(Broken):
        run.train("lstm-attention", config.read("lstm-attention", toml), out, seed=1)
    resume = ["train", "lstm-attention", "--out", str(out), "--resume"]
    with files.locked(out):
        assert cli.main(resume) == 1
    assert "Another process is at work in this folder" in capsys.readouterr().err
    (out / checkpoint.NAME).write_bytes(b"half a file")
    assert cli.main(resume) == 2
    assert "The checkpoint cannot be read" in capsys.readouterr().err
    (out / checkpoint.NAME).unlink()
    assert cli.main(resume) == 2
    assert "has no checkpoint.npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "RUN"], "There is a run already: choose another directory"),
        (["--resume"], "--resume goes on with the run that --out names"),
        (
            ["--out", "RUN", "--resume", "--seed", "2"],
            "with seed=1: leave that out, or train another. Received: seed=2",
        ),
        (["--out", "RUN", "--resume", "--epochs", "9"], "Received: [training] epochs=9"),
        (["--out", "RUN", "--resume", "--data", "jsb_quarter"], "Received: [data] name='jsb_quarter'"),
        (["--out", "RUN", "--resume", "--config", "q88"], "[model] hidden=8"),
        (["--out", "RUN", "--resume", "--init", "RUN"], "with init=None"),
        (["--out", "EMPTY", "--resume"], "is no run directory"),
        (["--out", "NEW", "--init", "EMPTY"], "is no run directory"),
    ],
)
def test_what_does_not_agree_is_refused(unbroken, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    before = sorted(unbroken[0].rglob("*"))
    assert cli.main(["train", "lstm-attention", *(a.replace("RUN", str(unbroken[0])) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(unbroken[0].rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["EMPTY"]


def test_another_model_is_refused(unbroken, tmp_path, capsys):
    other = shutil.copytree(unbroken[0], tmp_path / "other")
    card = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(card | {"model": "gan"}))
    assert cli.main(["train", "lstm-attention", "--out", str(other), "--resume"]) == 2
    assert "with model='gan': leave that out, or train another. Received: model=" in capsys.readouterr().err
    assert cli.main(["train", "lstm-attention", "--init", str(other), "--out", str(tmp_path / "new")]) == 2
    assert "That run is of the model gan" in capsys.readouterr().err


def test_a_finished_run_is_left_alone(unbroken, toml, capsys):
    times = {path: path.stat().st_mtime_ns for path in unbroken[0].rglob("*")}
    for given in ([], ["--config", str(toml), "--seed", "1", "--epochs", "4", "--data", "chorales"]):
        assert cli.main(["train", "lstm-attention", "--out", str(unbroken[0]), "--resume", *given]) == 0
        assert "is finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in unbroken[0].rglob("*")} == times


@pytest.mark.slow
def test_an_interruption_waits_for_the_files(unbroken, toml, tmp_path, monkeypatch, capsys):
    """Ctrl-C in the first epoch, and again while the model is saved; then, having gone on, in the checkpoint."""
    out = tmp_path / "a run"
    command = ["train", "lstm-attention", "--config", str(toml), "--out", str(out), "--seed", "1", "--resume"]
    save, write = keras.Model.save, checkpoint.write
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Curves, "on_train_batch_end", interrupting(lambda *_: None))
        patch.setattr(keras.Model, "save", interrupting(save))
        assert cli.main(command) == 130
    told = capsys.readouterr()
    assert told.err == "bachkeras: interrupted\n"
    assert f"the first epoch was not over, so the model as it is now is in {out}." in told.out
    assert cli.main(["generate", "--model", str(out), "--length", "4", "--out", str(tmp_path / "music")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", interrupting(write))
        assert cli.main(command) == 130
    told = capsys.readouterr().out
    assert f"the best model so far is in {out}." in told
    assert bachkeras.load(out).built
    assert history(out) == history(unbroken[0])[:1]
    assert told.endswith(f"Go on with: bachkeras train lstm-attention --out '{out}' --resume\n")


def interrupting(function):
    """A function in the middle of which Ctrl-C is pressed."""

    def wrapped(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return function(*arguments, **options)

    return wrapped


def test_signals_are_held_and_handed_on():
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def work():
        with interrupt.enabled():
            with interrupt.held():
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGTERM)
                done.append("held")
            done.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["held"]
    assert signal.getsignal(signal.SIGTERM) is before


def rows(*values: float) -> list[dict[str, float]]:
    return [{"seconds": 2.5 * i, MONITOR: value} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "patience", "best", "over"),
    [
        ([], 1, -1, False),
        ([3.0, 2.0, 4.0, 3.0], 3, 1, False),
        ([3.0, 2.0, 4.0, 3.0, 5.0], 3, 1, True),
        ([3.0, 2.0, 4.0, 3.0, 5.0], 0, 1, False),
        ([2.0, 2.0], 1, 0, True),
        ([2.0, np.nan], 0, 0, True),
        ([np.nan], 0, -1, True),
        ([1.0] * 10, 0, 0, True),
    ],
)
def test_progress_knows_the_best_epoch_and_the_end(values, patience, best, over):
    progress = Progress(rows(*values))
    assert progress.best_epoch == best
    assert progress.over(config.Training(epochs=10, patience=patience)) is over


def test_progress_knows_epochs_that_were_not_judged():
    """A limit of minutes too; a figure that is no number spoils an epoch, whatever its others are."""
    judged = rows(3.0, 2.0, 1.0)
    del judged[0][MONITOR]
    judged[2]["loss"] = np.nan
    assert Progress(judged[:1]).best_epoch == -1
    assert not Progress(judged[:1]).diverged
    assert Progress(judged).best_epoch == 1
    assert Progress(judged[:2]).over(config.Training(minutes=0.04))
    assert not Progress(judged[:2]).over(config.Training(minutes=0.05))


def test_a_run_that_diverges_at_once_leaves_nothing(toml, tmp_path):
    wild = config.read("lstm-attention", toml)
    wild.training.__dict__["learning_rate"] = 1e30
    with pytest.raises(RuntimeError, match="diverged in its first epoch"):
        run.train("lstm-attention", wild, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_goes_on_from_another_ones_weights(unbroken, tmp_path, monkeypatch, capsys):
    """A learning rate that moves nothing: validation begins where the other run ended."""
    first, out = unbroken[0], tmp_path / "second"
    figure = evaluated(first)[0]["test_nats_per_frame"]
    slow = tmp_path / "slow.toml"
    slow.write_text("[model]\nhidden = 64\n[data]\nwindow = 8\n[training]\nepochs = 2\nlearning_rate = 1e-9\n")
    command = ["train", "lstm-attention", "--init", str(first), "--config", str(slow), "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(likelihood, "log_probs", broken_after(0, likelihood.log_probs))
        with pytest.raises(Broken):
            cli.main(command)
    assert cli.main([*command, "--resume"]) == 0
    assert f"{figure:.3f}" in capsys.readouterr().out
    best = min(float(row[MONITOR]) for row in history(first))
    assert [float(row[MONITOR]) for row in history(out)] == pytest.approx([best, best], abs=1e-4)
    card, before = directory.card(out), directory.card(first)
    assert card["init"] == {"run": str(first), "trained_on": ["chorales"]}
    assert card["trained_on"] == before["trained_on"] == ["chorales"]
    assert card["config"]["model"] == before["config"]["model"]
    assert card["config"]["frame"] == before["config"]["frame"]
    assert card["config"]["data"]["batch_size"] == 16
    assert cli.main(["train", "lstm-attention", "--init", str(tmp_path), "--out", str(out), "--resume"]) == 2
    assert "Received: init=" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_that_may_know_the_tunes_get_no_figure(unbroken, tmp_path, capsys):
    """A model trained on the benchmark, then on the chorales, whose splits are others."""
    benchmark = shutil.copytree(unbroken[0], tmp_path / "benchmark")
    card = json.loads((benchmark / "config.json").read_text())
    card["data"]["name"] = "jsb_quarter"
    (benchmark / "config.json").write_text(json.dumps(card))
    out = tmp_path / "out"
    settings = tmp_path / "one.toml"
    settings.write_text("[data]\nwindow = 8\n[training]\nepochs = 1\n")
    run.train("lstm-attention", config.read("lstm-attention", settings), out, init=benchmark)
    assert directory.card(out)["trained_on"] == ["jsb_quarter", "chorales"]
    row, _, trigram, *_ = json.loads((out / "evaluation.json").read_text())
    assert row["likelihood"] is row["test_nats_per_frame"] is None
    assert "the weights have seen jsb_quarter" in row["notes"]
    assert trigram["likelihood"] == "exact"
    assert "the weights have seen jsb_quarter" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("trained_on", "test", "unfair"),
    [
        (["jsb_quarter"], "jsb_quarter", []),
        (["chorales_8th"], "jsb_quarter", []),
        (["chorales_16th", "chorales_8th"], "chorales", []),
        (["jsb_quarter"], "chorales", ["jsb_quarter"]),
        (["./chorales", "chorales"], "chorales", ["./chorales"]),
        (["chorales/mine"], "jsb_quarter", ["chorales/mine"]),
        (["chorales"], "./bach", ["chorales"]),
    ],
)
def test_which_corpora_may_share_tunes(trained_on, test, unfair):
    assert likelihood.may_share_tunes(trained_on, test) == unfair


def tiny(*arguments: str, **options) -> subprocess.Popen:
    """`bachkeras ...` in a process of its own, on the small corpora."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "tiny.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_killed_at_any_moment_it_becomes_the_same_run(toml, tmp_path):
    """Six kills, spread over the whole life of the process: imports, the first epoch, the last files."""
    command = ["train", "lstm-attention", "--config", str(toml), "--out"]
    began = time.monotonic()
    process = tiny(*command, str(tmp_path / "unbroken"))
    told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    whole = time.monotonic() - began
    random = np.random.default_rng(0)
    runs, kills = [tmp_path / "0"], 0
    while kills < 6:
        process = tiny(*command, str(runs[-1]), "--resume")
        time.sleep(whole * random.uniform(0.3, 0.9))
        finished = process.poll() == 0
        process.kill()
        assert "Traceback" not in process.communicate()[1]
        assert not runs[-1].exists() or directory.card(runs[-1])["seed"] == 0
        if finished:
            runs.append(tmp_path / str(len(runs)))
        kills += not finished
    process = tiny(*command, str(runs[-1]), "--resume")
    told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert {path.name for path in tmp_path.iterdir()} == {"unbroken", *(out.name for out in runs)}
    for out in runs:
        check_same(out, tmp_path / "unbroken")


@pytest.mark.slow
def test_interrupted_in_the_terminal(toml, tmp_path):
    """Ctrl-C after an epoch: status 130, a line on either stream, a model to write with, a command that goes on."""
    out = tmp_path / "out"
    process = tiny("train", "lstm-attention", "--config", str(toml), "--out", str(out), "--epochs", "500")
    while not (out / "model.keras").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "bachkeras: interrupted\n"
    assert f"the best model so far is in {out}." in told
    assert bachkeras.load(out).generate(1, 4)["pianoroll"].shape == (1, 4, 88)
    done = len(history(out))
    resume = shlex.split(re.search("Go on with: bachkeras (.*)", told)[1])
    process = tiny(*resume)
    while len(history(out)) < done + 2:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    told, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "bachkeras: interrupted\n")
    assert [int(row["epoch"]) for row in history(out)] == list(range(len(history(out))))
