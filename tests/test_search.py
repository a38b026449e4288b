"""`tuning/search.py`: what is tried, that nothing is run twice whatever ends it, what fails, what comes out."""

import contextlib
import csv
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import engine
import keras_tuner
import pytest
import results
import search
import spaces
import trial as trials
import tuner
from conftest import small_corpora

from bachkeras import _files as files
from bachkeras.training import config, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning"
)  # KerasTuner asks for a thread's name in an old way.

SPACE = """
window = [32, 96]
hidden = [8, 16]
batch_size = [4]
l2 = [0, 0.01]
"model.ending" = [true]
"""

LARGE = """
window = [16, 32, 64, 90, 128, 256]
hidden = [8, 16, 24, 32, 40]
batch_size = [4]
l2 = [0]
"""

GRID = [*itertools.product([32, 96], [8, 16], [4], [0.0, 0.01], [True])]


def value(window: int, hidden: int, l2: float) -> float:
    """What the trials below find: the least is that of window 96, hidden 8, no L2."""
    return 5.0 + abs(window - 90) / 100 + hidden / 100 + l2


@pytest.fixture
def processes(monkeypatch):
    """What processes are started; they train nothing.

    `begun` has the trials' folders, in order, `tested` the runs that were finished and so saw the test split. What is
    in `does` happens instead of a trial.
    """
    begun, tested, does = [], [], {}

    def child(command, check, **_):
        if command[: len(engine.FINISH)] == engine.FINISH:
            tested.append(Path(command[command.index("--out") + 1]))
            return SimpleNamespace(returncode=0)
        folder = Path(command[len(tuner.TRIAL)])
        begun.append(folder.name)
        asked = config.read("lstm-attention", folder / "config.toml")
        status = does.get(folder.name, lambda folder: None)(folder)
        if status is None:
            (folder / "run").mkdir(exist_ok=True)
            for name in ("config.json", "history.csv"):
                files.write_json(folder / "run" / name, {"trial": folder.name})
            found = value(asked.data.window, asked.model["hidden"], asked.model["l2"]) + 1 / asked.training.epochs
            figures = {"nats_per_frame": found, "epochs": asked.training.epochs, "best_epoch": 1}
            files.write_json(folder / "figures.json", figures | {"minutes": 0.5, "parameters": 100})
        return SimpleNamespace(returncode=status or 0)

    monkeypatch.setattr(subprocess, "run", child)
    monkeypatch.setattr(engine.catalog, "load", lambda *_, **__: SimpleNamespace(version="1"))
    monkeypatch.setattr(tuner.time, "sleep", lambda _: None)
    return SimpleNamespace(begun=begun, tested=tested, does=does)


@pytest.fixture
def go(tmp_path, processes):
    """Run the search."""
    (tmp_path / "space.toml").write_text(SPACE)

    def main(*arguments):
        asked = ["--space", str(tmp_path / "space.toml"), "--directory", str(tmp_path), "--name", "s", *arguments]
        return search.main(asked)

    return main


def table(tmp_path):
    with open(tmp_path / "s" / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def tried(rows):
    keys = ("window", "hidden", "batch_size", "l2", "model.ending")
    return [tuple(json.loads(row[key].lower()) for key in keys) for row in rows]


def test_a_grid_tries_every_combination_once(go, tmp_path, processes, capsys):
    """And the best one, it alone, sees the test split."""
    assert go("--oracle", "grid", "--epochs", "3") == 0
    out = capsys.readouterr().out
    rows = table(tmp_path)
    assert tried(rows) == GRID
    assert [float(row["nats_per_frame"]) for row in rows] == [
        value(window, hidden, l2) + 1 / 3 for window, hidden, _, l2, _ in GRID
    ]
    assert rows[4]["minutes"] == "0.5"
    assert rows[4]["failed"] == ""
    folder = tmp_path / "s"
    assert processes.tested == [folder / "best"]
    assert json.loads((folder / "best" / "config.json").read_text()) == {"trial": "trial_0004"}
    best = config.read("lstm-attention", folder / "best.toml")
    assert (best.data.window, best.model["attention_window"], best.model["hidden"]) == (96, 96, 8)
    assert (best.model["l2"], best.model["ending"], best.training.epochs) == (0.0, True, 3)
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
    assert "8 of 8  trial 0007: window 96" in out
    assert "best 5.4733 (trial 0004)" in out
    before = (folder / "results.csv").read_bytes()
    assert go("--oracle", "grid", "--epochs", "3") == 0
    assert len(processes.begun) == 8
    assert (folder / "results.csv").read_bytes() == before


def test_random_tries_different_combinations(go, tmp_path, processes):
    """The same ones with the same seed; and more where more are asked for."""
    assert go("--oracle", "random", "--trials", "5", "--seed", "3") == 0
    first = tried(table(tmp_path))
    assert len(set(first)) == 5
    assert set(first) < set(GRID)
    assert go("--oracle", "random", "--trials", "11", "--seed", "3") == 0
    assert tried(table(tmp_path))[:5] == first
    assert set(tried(table(tmp_path))) == set(GRID)
    assert len(processes.begun) == 8


def test_bayesian_finds_the_best(go, tmp_path, processes):
    """In half of the combinations, none twice, some at random first; one that failed is not tried again."""
    processes.does["trial_01"] = lambda folder: -signal.SIGKILL
    (tmp_path / "space.toml").write_text(LARGE)
    assert go("--oracle", "bayesian", "--trials", "15") == 0
    rows = table(tmp_path)
    best = min(rows, key=lambda row: float(row["nats_per_frame"] or "inf"))
    assert (best["window"], best["hidden"]) == ("90", "8")
    assert [row["trial"] for row in rows if row["failed"]] == ["01"]
    assert len({(row["window"], row["hidden"]) for row in rows}) == 15


def test_hyperband_gives_the_best_ones_more_epochs(go, tmp_path):
    """From the beginning; each bracket's."""
    (tmp_path / "space.toml").write_text(LARGE)
    assert go("--oracle", "hyperband", "--epochs", "9") == 0
    rows = table(tmp_path)
    by_epochs = {e: [row for row in rows if row["epochs"] == e] for e in "139"}
    assert [len(found) for found in by_epochs.values()] == [9, 3 + 5, 1 + 2 + 3]
    first = sorted(by_epochs["1"], key=lambda row: float(row["nats_per_frame"]))
    chosen = [(row["window"], row["hidden"]) for row in by_epochs["3"]]
    assert {(row["window"], row["hidden"]) for row in first[:3]} <= {*chosen}


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(("oracle", "step"), [("grid", 4), ("random", 1), ("bayesian", 9), ("hyperband", 5)])
def test_killed_at_any_file_it_goes_on(oracle, step, tmp_path, processes, go, monkeypatch):
    """Before and after each file that is written: what is tried is the same, and no finished trial is run again."""
    monkeypatch.setattr(results.Results, "draw", lambda _: None)
    monkeypatch.setattr(results.Results, "_write_hparams", lambda _, path: path.mkdir())
    epochs = "3" if oracle == "hyperband" else "2"
    arguments = ("--oracle", oracle, "--trials", "4", "--epochs", epochs)
    assert go(*arguments) == 0
    expected, replace = table(tmp_path), files.replace

    def killed_at(number, before):
        """A search that is killed there; whether it came so far."""
        left = [number]

        def write(path, content):
            left[0] -= 1
            if left[0] == 0 and before:
                raise Killed
            replace(path, content)
            if left[0] == 0:
                raise Killed

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(files, "replace", write)
            assert go(*arguments) == 0
        keras_tuner.src.engine.oracle.THREADS.clear()  # Another process has locks of its own.
        keras_tuner.src.engine.oracle.LOCKS.clear()
        return left[0] <= 0

    for number in itertools.count(1, step):
        reached = []
        for before in (True, False):
            shutil.rmtree(tmp_path / "s")
            del processes.begun[:]
            reached.append(killed_at(number, before))
            finished = [path.parent.name for path in tmp_path.glob("s/trial_*/figures.json")]
            done = len(processes.begun)
            assert go(*arguments) == 0
            assert table(tmp_path) == expected
            assert not {*processes.begun[done:]} & {*finished}
        if not any(reached):
            break
    assert number > 20


def test_a_damaged_trial_counts_as_not_run(go, tmp_path, processes):
    """It is run again with its values, and no other is."""
    assert go("--oracle", "grid") == 0
    before = table(tmp_path)
    folder = tmp_path / "s"
    (folder / "trial_0002" / "trial.json").write_text('{"trial_id": "00')
    (folder / "trial_0002" / "figures.json").unlink()
    (folder / "trial_0005" / "trial.json").unlink()
    (folder / "trial_0005" / "figures.json").unlink()
    (folder / "trial_0006" / "trial.json").write_text("[]")  # What it found is there.
    (folder / "trial_0007" / "figures.json").unlink()
    del processes.begun[:]
    assert go("--oracle", "grid") == 0
    assert processes.begun == ["trial_0002", "trial_0005", "trial_0007"]
    assert table(tmp_path) == before


def test_a_search_whose_state_is_damaged_says_so(go, tmp_path, processes, capsys):
    assert go("--oracle", "grid") == 0
    (tmp_path / "s" / "oracle.json").write_text("{")
    assert go("--oracle", "grid") == 2
    error = capsys.readouterr().err
    assert "The state of the search cannot be read" in error
    assert error.count("\n") == 1
    assert len(processes.begun) == 8


def test_interrupted_it_goes_on(go, tmp_path, processes, capsys):
    def interrupt(folder):
        raise KeyboardInterrupt

    processes.does["trial_0003"] = interrupt
    assert go("--oracle", "grid") == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    processes.does["trial_0003"] = lambda folder: 130  # The trial's process heard of it first,
    assert go("--oracle", "grid") == 130
    processes.does["trial_0003"] = lambda folder: -signal.SIGTERM  # or before it could.
    assert go("--oracle", "grid") == 130
    processes.does.clear()
    assert go("--oracle", "grid") == 0
    assert tried(table(tmp_path)) == GRID
    assert len(processes.begun) == 11


def test_what_does_not_fit_is_told_and_passed_over(go, tmp_path, processes, capsys):
    """However many in a row; and it is not tried again."""

    def unfit(folder):
        (folder / "failed.txt").write_text("out of memory: a reason\n")
        return 0

    processes.does.update({f"trial_000{i}": unfit for i in range(5)})
    processes.does["trial_0005"] = lambda folder: -signal.SIGKILL
    assert go("--oracle", "grid") == 0
    out = capsys.readouterr().out
    assert "6 of 8 trials failed:\n  trial 0000: out of memory: a reason\n" in out
    assert "  trial 0005: its process was ended by SIGKILL: perhaps it took too much memory\n" in out
    rows = table(tmp_path)
    assert [row["nats_per_frame"] != "" for row in rows] == [False] * 6 + [True] * 2
    assert rows[0]["failed"] == "out of memory: a reason"
    assert go("--oracle", "grid") == 0
    assert len(processes.begun) == 8


def test_where_nothing_fits(go, tmp_path, processes, capsys):
    processes.does.update({f"trial_000{i}": lambda folder: -signal.SIGKILL for i in range(8)})
    assert go("--oracle", "grid") == 1
    assert "no trial could be trained" in capsys.readouterr().err
    assert not processes.tested


def test_a_programming_error_ends_the_search(go, tmp_path, processes, capsys):
    def wrong(folder):
        (folder / "log.txt").write_text("Traceback (most recent call last):\nNameError: name 'x' is not defined\n\n")
        return 1

    processes.does["trial_0002"] = wrong
    assert go("--oracle", "grid") == 1
    error = capsys.readouterr().err
    assert error.startswith("search.py: NameError: name 'x' is not defined (exit status 1; see ")
    assert error.count("\n") == 1
    processes.does["trial_0002"] = lambda folder: -signal.SIGSEGV
    assert go("--oracle", "grid") == 1
    processes.does.clear()
    assert go("--oracle", "grid") == 0
    assert tried(table(tmp_path)) == GRID
    assert processes.begun.count("trial_0002") == 3
    assert len(processes.begun) == 10


def test_a_mistake_in_the_search_itself_ends_it(go, monkeypatch):
    """KerasTuner would take it for a trial that failed."""
    monkeypatch.setattr(tuner, "seed", lambda *_: 1 / 0)
    with pytest.raises(keras_tuner.errors.FatalError, match="ZeroDivisionError"):
        go("--oracle", "grid")


def test_another_search_of_that_name_is_refused(go, tmp_path, processes, capsys):
    assert go("--oracle", "grid", "--epochs", "3") == 0
    assert go("--oracle", "grid", "--epochs", "4", "--seed", "1") == 2
    assert "There is another search of that name, with other config, seed: choose a --name." in capsys.readouterr().err
    assert len(processes.begun) == 8


def test_a_search_has_one_state_of_its_corpus(go, monkeypatch, processes, capsys):
    """A folder may change between two calls."""
    assert go("--oracle", "grid") == 0
    monkeypatch.setattr(engine.catalog, "load", lambda *_, **__: SimpleNamespace(version="2"))
    assert go("--oracle", "grid") == 2
    assert "There is another search of that name, with other corpus: choose a --name." in capsys.readouterr().err
    assert len(processes.begun) == 8


def test_two_at_once_are_refused(go, tmp_path, capsys):
    (tmp_path / "s").mkdir()
    with files.locked(tmp_path / "s"):
        assert go("--oracle", "grid") == 1
    assert "Another process is at work in this folder" in capsys.readouterr().err


def test_tensorboard_has_the_same_columns_for_all_trials(go, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    assert go("--oracle", "grid") == 0
    logs = tmp_path / "s" / "logs"

    def plugin(folder, tag):
        events = EventAccumulator(str(folder)).Reload()
        return plugin_data_pb2.HParamsPluginData.FromString(events.SummaryMetadata(tag).plugin_data.content)

    experiment = plugin(logs, "_hparams_/experiment").experiment
    keys = ["window", "hidden", "batch_size", "l2", "model.ending"]
    assert [info.name for info in experiment.hparam_infos] == keys
    assert [info.name.tag for info in experiment.metric_infos] == ["nats_per_frame"]
    for i in range(8):
        started = plugin(logs / f"000{i}", "_hparams_/session_start_info").session_start_info
        assert sorted(started.hparams) == sorted(keys)


def test_a_trial_has_a_seed_of_its_own():
    values = {"window": 32, "l2": 0.0}
    seeds = {tuner.seed(base, values | {"window": window}) for base in (0, 1) for window in (32, 64)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert tuner.seed(0, values) == tuner.seed(0, dict(reversed(values.items())))


@pytest.mark.parametrize("model", spaces.SPACES)
def test_every_value_of_every_model_builds(model):
    """Each value beside the first ones of the others."""
    space = spaces.SPACES[model]
    base = config.read(model, space.config or "default")
    corpora = small_corpora(base.data.name).values()
    first = {key: tried[0] for key, tried in space.values.items()}
    combinations = [first, *({**first, key: value} for key, tried in space.values.items() for value in tried[1:])]
    for values in combinations:
        changed = spaces.configured(base, model, values)
        built = run.make_model(model, changed, corpora)
        assert built.built
        assert not built.window or changed.data.window >= built.window or not changed.data.window
        for key, value in values.items():
            for place in spaces.places(model, key):
                section, _, name = place.partition(".")
                assert changed.to_dict()[section][name] == value


def test_the_grid_around_the_source():
    parsed = search._parser().parse_args(["--grid", "source"])
    asked = search._asked(parsed)
    assert asked.model == "lstm-attention"
    assert asked.oracle == "grid"
    assert len([*itertools.product(*asked.values.values())]) == 72
    source = {"window": 96, "hidden": 256, "batch_size": 32, "l2": 0.01, "dropout": 0.0}
    assert all(value in asked.values[key] for key, value in source.items())
    point = spaces.configured(asked.config, asked.model, source)
    there = config.read("lstm-attention", "source")
    assert point.model == there.model
    assert point.data == there.data
    assert point.frame == there.frame | {"dropout": 0.0}


@pytest.mark.parametrize(
    ("arguments", "space", "message"),
    [
        (["--model", "tree"], "", "The models are lstm-attention, lstm-vae"),
        (["--oracle", "luck"], "", "The oracles are grid, random, bayesian, hyperband. Received: oracle='luck'"),
        (["--grid", "mine"], "", "The named grids are source. Received: grid='mine'"),
        (["--grid", "source", "--model", "gan"], None, "A named grid is a whole search"),
        ([], "hidden = 3", "A hyperparameter has a list of values, window = [32, 64]. Received: hidden = 3"),
        ([], "hidden = []", "A hyperparameter has a list of values"),
        ([], "hidden = [3, 3]", "are of one type, each once"),
        ([], 'hidden = [3, "a"]', "are of one type, each once"),
        ([], "hidden = [", "The space cannot be read"),
        ([], "hiden = [3]", "lstm-attention has no such hyperparameter. Received: 'hiden'"),
        ([], '"modell.hidden" = [3]', "Received: 'modell.hidden'"),
        ([], "batch_size = [0]", "batch_size is too small"),
        ([], "window = [0.5]", "window is a int"),
        (["--config", "defalt"], "", "Received: config='defalt'"),
        (["--data", "nothing"], "", "There is no such corpus"),
        (["--oracle", "hyperband", "--epochs", "27"], "", "hyperband tries 49 combinations"),
        ([], '"model.hidden" = [64]', "hidden sets model.hidden, too: leave out one of them. Received: 'model.hidden'"),
    ],
)
def test_what_cannot_be_searched_is_one_line(arguments, space, message, tmp_path, capsys):
    if space is not None:
        (tmp_path / "space.toml").write_text(space)
        arguments = [*arguments, "--space", str(tmp_path / "space.toml")]
    assert search.main([*arguments, "--directory", str(tmp_path / "searches")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("search.py: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "searches").exists()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A trial's folder with a small configuration, on small corpora."""
    monkeypatch.setattr("bachkeras.data.catalog.load", lambda name, split, **_: small_corpora(name)[split])
    tiny = {"model.hidden": 8, "frame.units": 8, "training.epochs": 2, "data.window": 8, "model.attention_window": 8}
    config.write(tmp_path / "config.toml", config.read("lstm-attention").changed(tiny))
    return tmp_path


def test_a_trial_is_worth_its_nats_on_whole_validation_pieces(folder):
    """Of its best epoch; the test split is not looked at."""
    arguments = [str(folder), "--model", "lstm-attention", "--seed", "3"]
    assert trials.main(arguments) == 0
    found = json.loads((folder / "figures.json").read_text())
    with open(folder / "run" / "history.csv", newline="") as file:
        epochs = [float(row["val_nats_per_frame"]) for row in csv.DictReader(file)]
    assert found["nats_per_frame"] == pytest.approx(min(epochs), rel=1e-5)
    assert found["best_epoch"] == 1 + epochs.index(min(epochs))
    assert found["epochs"] == 2
    assert not (folder / "run" / "evaluation.json").exists()
    assert (folder / "run" / "checkpoint.npz").exists()
    stamp = (folder / "run" / "checkpoint.npz").stat().st_mtime_ns
    (folder / "figures.json").unlink()
    assert trials.main(arguments) == 0  # Its search was killed before it asked.
    assert json.loads((folder / "figures.json").read_text()) == found
    assert (folder / "run" / "checkpoint.npz").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("tiny", "reason"),
    [
        ({"model.attention_heads": 3}, "The configuration does not fit lstm-attention"),
        ({"training.learning_rate": 1e30, "training.clipnorm": 0.0}, "Training diverged in its first epoch"),
    ],
)
def test_a_trial_that_cannot_be_trained_says_why(folder, tiny, reason):
    changed = config.read("lstm-attention", folder / "config.toml").changed(tiny)
    config.write(folder / "config.toml", changed)
    assert trials.main([str(folder), "--model", "lstm-attention", "--seed", "0"]) == 0
    assert reason in (folder / "failed.txt").read_text()
    assert not (folder / "figures.json").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError(), "out of memory"), (NameError("a mistake"), None), (ValueError("another"), None)],
)
def test_an_error_in_training(folder, monkeypatch, error, reason):
    """Too little memory is a reason; a mistake in the program is none."""

    def fit(*_, **__):
        raise error

    monkeypatch.setattr(run, "fit", fit)
    arguments = [str(folder), "--model", "lstm-attention", "--seed", "0"]
    if reason:
        assert trials.main(arguments) == 0
        assert reason in (folder / "failed.txt").read_text()
    else:
        with pytest.raises(type(error)):
            trials.main(arguments)
        assert not (folder / "failed.txt").exists()


SMALL = """
window = [8, 96]
hidden = [8]
batch_size = [4]
l2 = [0.0, 0.01]
"frame.units" = [8]
"""

COMMAND = [sys.executable, str(Path(__file__).parent / "tiny_tuning.py"), "search", "--oracle", "grid", "--epochs", "2"]


def start(tmp_path, name, **environment):
    """A process that searches the small grid; it and what it starts are a group."""
    (tmp_path / "small.toml").write_text(SMALL)
    command = [*COMMAND, "--space", str(tmp_path / "small.toml"), "--directory", str(tmp_path), "--name", name]
    threads = {"TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    with open(tmp_path / f"{name}.txt", "a") as log:
        return subprocess.Popen(
            command, env={**os.environ, **threads, **environment}, stdout=log, stderr=log, start_new_session=True
        )


def until(condition, process, seconds=300):
    """Wait for something that a process brings about."""
    ends = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None or condition()
        assert time.monotonic() < ends
        time.sleep(0.05)


def figures(tmp_path, name):
    """The results of a search but for how long they took."""
    with open(tmp_path / name / "results.csv", newline="") as file:
        return [
            {key: text for key, text in row.items() if key not in ("minutes", "trial")} for row in csv.DictReader(file)
        ]


def by_values(rows):
    return sorted(rows, key=lambda row: [row[key] for key in ("window", "hidden", "l2")])


def begun(tmp_path, name):
    """How often each trial's training was begun."""
    logs = sorted((tmp_path / name).glob("trial_*/log.txt"))
    return [log.read_text().count("Epoch 1/2") for log in logs]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A search killed twice by SIGKILL, with its trial and then alone, while the trial trains on; and gone on with."""
    folder = tmp_path_factory.mktemp("killed")
    process = start(folder, "s")
    until((folder / "s" / "trial_0001" / "run" / "history.csv").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process = start(folder, "s")
    until((folder / "s" / "trial_0002" / "run" / "config.json").exists, process)
    process.kill()  # Not its child.
    process.wait()
    assert start(folder, "s").wait(600) == 0
    return folder


@pytest.mark.slow
def test_killed_it_goes_on(killed):
    """Its figures are those of the next test, whose search is disturbed at other places."""
    assert len(figures(killed, "s")) == 4
    assert json.loads((killed / "s" / "best" / "evaluation.json").read_text())[0]["test_nats_per_frame"] > 0
    assert begun(killed, "s") == [1] * 4


def free_port():
    """What all processes of a cluster on this machine are told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free.getsockname()[1])}


@pytest.mark.slow
def test_chief_and_two_workers_find_what_one_process_finds(killed, tmp_path):
    """One worker is killed, with its trial, and started again."""
    cluster = free_port()
    chief = start(tmp_path, "s", **cluster, KERASTUNER_TUNER_ID="chief")
    workers = [start(tmp_path, "s", **cluster, KERASTUNER_TUNER_ID=f"worker{i}") for i in range(2)]
    until(lambda: len([*(tmp_path / "s").glob("trial_*/run/history.csv")]) >= 2, workers[0])
    os.killpg(workers[0].pid, signal.SIGKILL)
    workers[0].wait()
    workers[0] = start(tmp_path, "s", **cluster, KERASTUNER_TUNER_ID="worker0")
    assert [worker.wait(600) for worker in workers] == [0, 0]
    assert chief.wait(600) == 0
    assert by_values(figures(tmp_path, "s")) == by_values(figures(killed, "s"))
    assert sorted(begun(tmp_path, "s"))[:-1] == [1] * 3  # The killed one may have been in its first epoch.
    best = [json.loads((folder / "s" / "best" / "evaluation.json").read_text())[0] for folder in (tmp_path, killed)]
    assert best[0]["test_nats_per_frame"] == best[1]["test_nats_per_frame"]


@pytest.mark.slow
def test_an_error_in_a_worker_ends_the_chief(tmp_path):
    cluster = free_port()
    chief = start(tmp_path, "s", **cluster, KERASTUNER_TUNER_ID="chief")
    assert start(tmp_path, "s", **cluster, KERASTUNER_TUNER_ID="worker0", BROKEN="1").wait(300) == 1
    assert chief.wait(60) == 1
    assert (tmp_path / "s.txt").read_text().count("search.py: NameError: name 'mistake' is not defined (exit sta") == 2
