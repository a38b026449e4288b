"""`python tuning/table.py TABLE.toml`: a table of training runs, a row a run. Broken off, it goes on where it stopped.

A table names a model, a configuration, and in each row what is different there; what it sets itself, all rows set:

    model = "lstm-vae"
    figures = ["kl_nats", "reconstruction_f1"]  # keys of evaluation.json, of history.csv's best epoch
    epochs = 60
    judge = "runs/q88"  # optional: `--judge` of each run; then real Bach and the samplers have lines, too

    [[rows]]
    name = "beta 0.5"
    set = { "model.beta" = 0.5 }  # and model = "...", config = "...", init = "...", epochs = ..., seed = ...

    [plot]  # optional
    x = "rate_nats_per_frame"
    y = "reconstruction_nats_per_frame"

Each row is trained by `bachkeras train` in a process of its own, in a run directory under --runs. Its figures go to
TABLE.csv, beside TABLE.toml, as soon as it is finished; a row that stands there is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bachkeras import _files as files
from bachkeras import _start
from bachkeras.training import config

ROW = {"model": "", "config": "default", "init": "", "epochs": 0, "seed": 0, "set": {}}
"""What a row may say besides its name, and the table for all of its rows."""

TABLE = ("figures", "judge", "plot", "rows")
"""What a table says besides."""

SETTINGS = ("name", "model", "config", "init", "set", "epochs", "seed")
"""The first columns of the results: what was run."""

ALWAYS = ("minutes", "parameters")
"""The last columns, after the figures that a table names."""


def main(arguments: list[str] | None = None) -> int:
    """Run a table; returns the exit status: 0, 1 if a row failed, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, metavar="TABLE.toml")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder for the runs (runs)")
    parser.add_argument("--manual-dir", type=Path, metavar="DIR", help="as of `bachkeras train`")
    parsed = parser.parse_args(arguments)
    _start.tensorflow()  # Its notes are held back.
    try:
        table = read(parsed.table)
        return run(table, parsed.table, parsed.runs, parsed.manual_dir)
    except ValueError as error:
        print(f"table.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("table.py: interrupted; the same command goes on", file=sys.stderr)
        return 130


def read(path: Path) -> dict[str, Any]:
    """A table, each row with all of its settings.

    Raises:
        ValueError: if it cannot be read, or a row says something unknown.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"The table cannot be read: {error}. Received: {str(path)!r}") from None
    common = {key: value for key, value in table.items() if key in ROW}
    unknown = table.keys() - ROW.keys() - set(TABLE)
    if unknown or not all(isinstance(row, dict) for row in table.get("rows", [])):
        raise ValueError(f"A table has {', '.join((*ROW, *TABLE))}. Received: {sorted(unknown) or 'rows'}")
    everywhere = common.get("set", {})
    rows = [{**ROW, **common, **row, "set": everywhere | row.get("set", {})} for row in table.get("rows", [])]
    for row in rows:
        if row.keys() != {*ROW, "name"} or not row["model"]:
            raise ValueError(f"A row has a name, and it or the table {', '.join(ROW)}. Received: {row}")
    known, plot = [*table.get("figures", []), *ALWAYS], table.get("plot")
    if plot is not None and (plot.keys() != {"x", "y"} or not {*plot.values()} <= {*known}):
        raise ValueError(f"A plot has x and y, of {', '.join(known)}. Received: plot={plot}")
    names = [row["name"] for row in rows]
    if len({_slug(name) for name in names}) < len(names):
        raise ValueError(f"Each row has a name of its own. Received: {names}")
    return {"figures": table.get("figures", []), "judge": table.get("judge", ""), "plot": plot, "rows": rows}


def run(table: Mapping[str, Any], path: Path, runs: Path, manual_dir: Path | None) -> int:
    """Train the rows that are not finished; write results and picture after each."""
    results = path.with_suffix(".csv")
    finished = _finished(results)
    for row in table["rows"]:
        _configuration(row)  # A mistake shows before anything is trained.
        settings = _settings(row)
        before = finished.get(row["name"])
        if before and {key: before.get(key) or "" for key in SETTINGS} != settings:
            raise ValueError(
                f"{row['name']!r} was run with other settings: take its line out of {results}. Received: {settings}"
            )
    failed = []
    for row in table["rows"]:
        if row["name"] in finished:
            continue
        print(f"{path.stem}: {row['name']}", flush=True)
        out = runs / path.stem / _slug(row["name"])
        command = [sys.executable, "-m", "bachkeras", "train", row["model"], "--out", str(out), "--resume"]
        command += ["--config", str(_written(_configuration(row), out)), "--seed", str(row["seed"])]
        command += ["--init", row["init"]] if row["init"] else []
        command += ["--judge", table["judge"]] if table["judge"] else []
        command += ["--manual-dir", str(manual_dir)] if manual_dir else []
        if subprocess.run(command, check=False).returncode:
            failed.append(row["name"])
            continue
        finished[row["name"]] = _settings(row) | _found(row, out, table["figures"])
        if table["judge"]:
            finished |= _references(out, table["figures"])
        _write(results, table, finished)
    if failed:
        print(f"table.py: these rows failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _settings(row: Mapping[str, Any]) -> dict[str, str]:
    """What was run, as text."""
    changes = ", ".join(f"{key} = {json.dumps(value)}" for key, value in row["set"].items())
    return {key: str(row[key]) for key in SETTINGS} | {"set": changes}


def _configuration(row: Mapping[str, Any]) -> config.Config:
    """The row's configuration: the named one, changed."""
    changed = config.read(row["model"], row["config"]).changed(row["set"])
    return changed.every_stage(epochs=row["epochs"]) if row["epochs"] else changed


def _written(configuration: config.Config, out: Path) -> Path:
    """A configuration as a file beside its run directory."""
    file = out.with_name(f"{out.name}.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    config.write(file, configuration)
    return file


def _found(row: Mapping[str, Any], out: Path, keys: list[str]) -> dict[str, str]:
    """The figures of a finished run."""
    from bachkeras.training import figures
    from bachkeras.training.run import MODELS

    found = json.loads((out / "evaluation.json").read_text())[0]
    best = figures.best_epoch(out, MODELS[row["model"]])
    known = {**best, **found, "minutes": figures.minutes(out)}
    unknown = [key for key in keys if key not in known]
    if unknown and not row["init"]:  # A twin of another kind has not all that its table tells.
        raise ValueError(f"There is no such figure of {out}. Received: figures={unknown}")
    return {key: _text(known.get(key)) for key in [*keys, *ALWAYS]}


def _references(out: Path, keys: list[str]) -> dict[str, dict[str, str]]:
    """The lines of real Bach and of the samplers, beside which a run was evaluated."""
    rows = json.loads((out / "evaluation.json").read_text())[1:]
    return {row["model"]: {"name": row["model"]} | {key: _text(row.get(key)) for key in keys} for row in rows}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _finished(results: Path) -> dict[str, dict[str, str]]:
    """The lines of the results by their name."""
    if not results.exists():
        return {}
    with open(results, newline="") as file:
        return {line["name"]: line for line in csv.DictReader(file)}


def _write(results: Path, table: Mapping[str, Any], finished: Mapping[str, Mapping[str, str]]) -> None:
    """The results in the table's order, and the picture."""
    lines = [finished[row["name"]] for row in table["rows"] if row["name"] in finished]
    lines += [line for line in finished.values() if not line.get("model")]  # References.
    with files.whole(results) as path, open(path, "w", newline="") as file:
        columns = [*SETTINGS, *table["figures"], *ALWAYS]
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    if table["plot"]:
        _plot(results.with_suffix(".png"), table["plot"], lines)


def _plot(path: Path, axes: Mapping[str, str], lines: list[Mapping[str, str]]) -> None:
    """Two figures against each other, a point a row; the rows of a model in one colour, names at the side."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 5), layout="constrained")
    chart = picture.add_subplot()
    lines = [line for line in lines if line.get("model") and line.get(axes["x"]) and line.get(axes["y"])]
    for model in dict.fromkeys(line["model"] for line in lines):
        points = [[float(line[axes[axis]]) for axis in "xy"] for line in lines if line["model"] == model]
        chart.scatter(*zip(*points, strict=True), label=model, zorder=3)
    lines.sort(key=lambda line: (-float(line[axes["y"]]), float(line[axes["x"]])))
    for i, line in enumerate(lines):
        chart.annotate(
            line["name"],
            [float(line[axes[axis]]) for axis in "xy"],
            xytext=(1.04, 1 - (i + 0.5) / len(lines)),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkB": 4},
        )
    chart.set_xlabel(axes["x"].replace("_", " "))
    chart.set_ylabel(axes["y"].replace("_", " "))
    chart.legend(loc="lower left")
    chart.grid(alpha=0.3)
    with files.whole(path) as unfinished:
        picture.savefig(unfinished, format="png", dpi=110)


def _slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
