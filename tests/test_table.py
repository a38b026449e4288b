"""`tuning/table.py`: rows that are run once and only once, what is asked of each, what goes wrong."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bachkeras.training import config

FILE = Path(__file__).parent.parent / "tuning" / "table.py"

TABLE = """
model = "lstm-vae"
config = "bare"
figures = ["kl_nats", "val_loss", "val_nats_per_frame", "shuffle_gap_interval", "contaminated", "clean_nats_per_frame"]
epochs = 7

[[rows]]
name = "beta 0.5"
set = { "model.beta" = 0.5, "data.transpose" = 2, "frame.labelled" = true }

[[rows]]
name = "Twice, a tree"
model = "hierarchical-vae"
config = "default"
seed = 3

[[rows]]
name = "text"
epochs = 2
set = { "training.epochs" = 9, "data.name" = "a \\"folder\\"/ä", "model.hidden" = 8 }

[plot]
x = "kl_nats"
y = "val_loss"
"""

OUTS = ("beta-0.5", "twice-a-tree", "text")
"""The run directories of its rows."""


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("table", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "collapse.toml"
    path.write_text(TABLE)
    return path


@pytest.fixture
def trained(table, monkeypatch):
    """The commands of the rows; each makes a run directory, but those whose name is in `failing`."""
    commands, failing = [], set()

    def run(command, check):
        commands.append(command)
        out = Path(command[command.index("--out") + 1])
        if out.name in failing:
            return SimpleNamespace(returncode=1)
        out.mkdir(parents=True)
        number = len(commands)
        (out / "config.json").write_text(json.dumps({"monitor": "val_loss"}))
        rows = [(0, 60.0, 6.0 + number, 1.0), (1, 120.0, 4.0 + number, 9.0), (2, 180.0, 4.0 + number, 0.5)]
        text = "\n".join(["epoch,seconds,val_loss,val_nats_per_frame", *(",".join(map(str, row)) for row in rows)])
        (out / "history.csv").write_text(text + "\n")
        found = {"kl_nats": 10.0 + number, "shuffle_gap_interval": [0.12345, 2.0], "contaminated": False}
        found |= {"parameters": 1234, "clean_nats_per_frame": None}
        (out / "evaluation.json").write_text(json.dumps([found, {"kl_nats": None}]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(table, "subprocess", SimpleNamespace(run=run))
    return SimpleNamespace(commands=commands, failing=failing)


def results(path):
    with open(path.with_suffix(".csv"), newline="") as file:
        return list(csv.DictReader(file))


JUDGED = """
model = "gan"
figures = ["kl_nats", "val_distance"]
judge = "runs/q88"

[[rows]]
name = "one"

[[rows]]
name = "twin"
model = "lstm-attention"
init = "runs/first"
"""


def test_judged_runs_stand_beside_bach(table, tmp_path, monkeypatch):
    """Real Bach and the samplers have lines, once; a twin need not have all figures."""
    commands = []

    def run(command, check):
        commands.append(command[3:])
        out = Path(command[command.index("--out") + 1])
        out.mkdir(parents=True)
        name = "val_distance" if command[4] == "gan" else "val_nats_per_frame"
        (out / "history.csv").write_text(f"epoch,seconds,{name}\n0,60,3\n1,120,2\n")
        rows = [{"model": out.name, "kl_nats": 1.0, "parameters": 3}, {"model": "real bach", "kl_nats": 2.0}]
        (out / "evaluation.json").write_text(json.dumps(rows))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(table, "subprocess", SimpleNamespace(run=run))
    path, runs = tmp_path / "judged.toml", tmp_path / "runs"
    path.write_text(JUDGED)
    assert table.main([str(path), "--runs", str(runs)]) == 0
    assert [command[-2:] for command in commands] == [["--judge", "runs/q88"]] * 2
    assert commands[1][-4:-2] == ["--init", "runs/first"]
    rows = results(path)
    assert [row["name"] for row in rows] == ["one", "twin", "real bach"]
    assert [row["kl_nats"] for row in rows] == ["1", "1", "2"]
    assert [row["val_distance"] for row in rows] == ["2", "", ""]
    assert rows[1]["init"] == "runs/first"
    assert table.main([str(path), "--runs", str(runs)]) == 0
    assert len(commands) == 2
    assert results(path) == rows


def test_rows_are_run_once_in_their_order(table, path, trained, tmp_path):
    """The figures are those of evaluation.json's first row and of the epoch with the least monitored figure."""
    arguments = [str(path), "--runs", str(tmp_path / "runs"), "--manual-dir", "here"]
    assert table.main(arguments) == 0
    train = [sys.executable, "-m", "bachkeras", "train"]
    for command, out, (model, seed) in zip(
        trained.commands, OUTS, (("lstm-vae", "0"), ("hierarchical-vae", "3"), ("lstm-vae", "0")), strict=True
    ):
        run = str(tmp_path / "runs" / "collapse" / out)
        asked = ["--config", f"{run}.toml", "--seed", seed, "--manual-dir", "here"]
        assert command == [*train, model, "--out", run, "--resume", *asked]
    rows = results(path)
    assert [row["name"] for row in rows] == ["beta 0.5", "Twice, a tree", "text"]
    assert rows[0] == {
        "name": "beta 0.5",
        "model": "lstm-vae",
        "config": "bare",
        "init": "",
        "set": "model.beta = 0.5, data.transpose = 2, frame.labelled = true",
        "epochs": "7",
        "seed": "0",
        "kl_nats": "11",
        "val_loss": "5",
        "val_nats_per_frame": "9",  # Of the second epoch, whose loss was the least first.
        "shuffle_gap_interval": "0.1235 2",
        "contaminated": "False",
        "clean_nats_per_frame": "",
        "minutes": "3",
        "parameters": "1234",
    }
    assert [row["epochs"] for row in rows] == ["7", "7", "2"]
    picture = path.with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = path.with_suffix(".csv").read_bytes()
    picture.unlink()
    assert table.main(arguments) == 0
    assert len(trained.commands) == 3
    assert path.with_suffix(".csv").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["collapse.csv", "collapse.toml", "runs"]


def test_each_row_is_asked_for_what_it_says(table, path, trained, tmp_path):
    """The named configuration, with the row's settings in their places."""
    assert table.main([str(path), "--runs", str(tmp_path)]) == 0
    asked = [config.read("lstm-vae", tmp_path / "collapse" / f"{out}.toml") for out in OUTS]
    expected = [config.read("lstm-vae", "bare").to_dict() for _ in asked]
    expected[0]["model"]["beta"] = 0.5
    expected[0]["data"]["transpose"] = 2
    expected[0]["frame"]["labelled"] = True
    expected[0]["training"]["epochs"] = 7
    expected[1] = config.read("hierarchical-vae").to_dict()
    expected[1]["training"]["epochs"] = 7
    expected[2]["data"]["name"] = 'a "folder"/ä'
    expected[2]["model"]["hidden"] = 8
    expected[2]["training"]["epochs"] = 2
    assert [one.to_dict() for one in asked] == expected


def test_a_row_that_fails_stops_no_other_and_is_run_again(table, path, trained, tmp_path, capsys):
    trained.failing.add("twice-a-tree")
    arguments = [str(path), "--runs", str(tmp_path)]
    assert table.main(arguments) == 1
    assert "these rows failed: Twice, a tree" in capsys.readouterr().err
    assert [row["name"] for row in results(path)] == ["beta 0.5", "text"]
    trained.failing.clear()
    assert table.main(arguments) == 0
    assert len(trained.commands) == 4
    assert [row["name"] for row in results(path)] == ["beta 0.5", "Twice, a tree", "text"]


def test_a_new_row_has_its_place_and_a_new_figure_its_column(table, path, trained, tmp_path):
    """Rows that are finished have not got it."""
    arguments = [str(path), "--runs", str(tmp_path)]
    assert table.main(arguments) == 0
    new = '[[rows]]\nname = "new"\n'
    changed = TABLE.replace('[[rows]]\nname = "beta 0.5"', f'{new}[[rows]]\nname = "beta 0.5"')
    path.write_text(
        changed.replace('figures = ["kl_nats"', 'figures = ["epoch", "kl_nats"').replace('x = "kl', 'x = "epoch" #')
    )
    assert table.main(arguments) == 0
    rows = results(path)
    assert [(row["name"], row["epoch"]) for row in rows] == [
        ("new", "1"),
        ("beta 0.5", ""),
        ("Twice, a tree", ""),
        ("text", ""),
    ]
    assert list(rows[0])[7:9] == ["epoch", "kl_nats"]
    assert len(trained.commands) == 4


def test_interrupted_it_goes_on(table, path, trained, tmp_path, monkeypatch, capsys):
    run = table.subprocess.run

    def interrupted(command, check):
        if len(trained.commands) == 1:
            raise KeyboardInterrupt
        return run(command, check)

    arguments = [str(path), "--runs", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(table.subprocess, "run", interrupted)
        assert table.main(arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [row["name"] for row in results(path)] == ["beta 0.5"]
    assert table.main(arguments) == 0
    assert len(trained.commands) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"model.beta" = 0.5', '"model.beta" = 0.6'),
        ("seed = 3", "seed = 4"),
        ('model = "lstm-vae"\nconfig = "bare"', 'model = "lstm-vae"\nconfig = "default"'),
        ("epochs = 7", "epochs = 8"),
    ],
)
def test_a_finished_row_with_other_settings_is_refused(table, path, trained, tmp_path, capsys, old, new):
    """Before anything is run, also where another row is new."""
    arguments = [str(path), "--runs", str(tmp_path)]
    trained.failing.add("text")
    assert table.main(arguments) == 1
    before, found = path.with_suffix(".csv").read_bytes(), len(trained.commands)
    path.write_text(TABLE.replace(old, new))
    capsys.readouterr()
    assert table.main(arguments) == 2
    error = capsys.readouterr().err
    assert "was run with other settings" in error
    assert error.count("\n") == 1
    assert path.with_suffix(".csv").read_bytes() == before
    assert len(trained.commands) == found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "sead = 3", "A row has a name, and it or the table model, config"),
        ("epochs = 7", "epoch = 7", "Received: ['epoch']"),
        ('name = "text"', "", "A row has a name"),
        ('name = "text"', 'name = "Beta 0.5!"', "Each row has a name of its own"),
        ('"model.beta"', '"modell.beta"', "Received: 'modell.beta'"),
        ('"model.beta"', '"beta"', "Received: 'beta'"),
        ('"data.transpose" = 2', '"data.transpos" = 2', "Received: transpos=2"),
        ('config = "default"', 'config = "defalt"', "Received: config='defalt'"),
        ('model = "hierarchical-vae"', 'model = "tree"', "Received: model='tree'"),
        ('"contaminated"', '"contaminate"', "There is no such figure of"),
        ("[[rows]]", "[[rows", "The table cannot be read"),
        ('y = "val_loss"', 'y = "loss"', "A plot has x and y, of kl_nats, val_loss, "),
        ('y = "val_loss"', "", "A plot has x and y, of kl_nats, val_loss, "),
    ],
)
def test_what_cannot_be_run_is_one_line(table, path, trained, tmp_path, capsys, old, new, message):
    path.write_text(TABLE.replace(old, new, 1))
    assert table.main([str(path), "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("table.py: ")
    assert error.count("\n") == 1
    assert len(trained.commands) == ("figure" in message)  # Of a figure nothing is known before.


def test_no_table(table, tmp_path, capsys):
    assert table.main([str(tmp_path / "none.toml")]) == 2
    assert "The table cannot be read" in capsys.readouterr().err


SMALL = """
model = "lstm-vae"
figures = ["test_nats_per_frame", "kl_nats", "val_loss"]
epochs = 3

[[rows]]
name = "flat"
set = { "model.hidden" = 8, "model.latent" = 4, "frame.units" = 8, "data.name" = "chorales" }

[[rows]]
name = "tree"
model = "hierarchical-vae"
set = { "model.hidden" = 8, "model.latent" = 4, "frame.units" = 8, "data.name" = "chorales" }
"""

TINY = """
import importlib.util, subprocess, sys, types
spec = importlib.util.spec_from_file_location("table", sys.argv.pop(1))
table, tiny = importlib.util.module_from_spec(spec), sys.argv.pop(1)
spec.loader.exec_module(table)
def run(command, check):
    return subprocess.run([command[0], tiny, *command[3:]], check=check)
table.subprocess = types.SimpleNamespace(run=run)
sys.exit(table.main())
"""
"""The table whose rows are run on the small corpora."""


@pytest.mark.slow
def test_killed_in_each_row_it_goes_on(tmp_path):
    """With SIGKILL, after the row's first epoch."""
    path, runs = tmp_path / "small.toml", tmp_path / "runs"
    path.write_text(SMALL)
    (tmp_path / "tiny.py").write_text(TINY)
    files = [str(tmp_path / "tiny.py"), str(FILE), str(Path(__file__).parent / "tiny.py")]
    command = [sys.executable, *files, str(path), "--runs", str(runs)]
    for name in ("flat", "tree"):
        process = subprocess.Popen(command, start_new_session=True)
        while not (runs / "small" / name / "history.csv").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [row["name"] for row in results(path)] == ["flat"]
    assert subprocess.run(command, check=False).returncode == 0
    for row in results(path):
        out = runs / "small" / row["name"]
        found = json.loads((out / "evaluation.json").read_text())[0]
        assert row["kl_nats"] == f"{found['kl_nats']:.4g}"
        with open(out / "history.csv", newline="") as file:
            losses = [float(line["val_loss"]) for line in csv.DictReader(file)]
        assert len(losses) == 3
        assert row["val_loss"] == f"{min(losses):.4g}"
    assert len(results(path)) == 2
    before = path.with_suffix(".csv").read_bytes()
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    assert path.with_suffix(".csv").read_bytes() == before
