"""What a search has found: results.csv, a picture, TensorBoard's HParams, read off the folders of its trials."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import oracles
import trial as trials
from keras_tuner.engine.trial import Trial, TrialStatus
from spaces import Search, Values
from tuner import seed

from bachkeras import _files as files

CSV, PICTURE, LOGS = "results.csv", "results.png", "logs"

COLUMNS = ("epochs", "best_epoch", "minutes", "parameters")
"""Of results.csv, after the objective."""

BAND = 0.15
"""How wide the lines of a value lie in parallel coordinates, as a share of the way from the first value to the last."""


class Results:
    """The trials of a search that are over.

    Attributes:
        rows: a dict each, in their order: `trial`, its values, the objective, `COLUMNS`, `seed`, and `failed`, the
            reason why it did; of one that failed the figures are None.

    Args:
        folder: of the search.
        search: what was searched.
        objective: name of the figure to be made small.
    """

    def __init__(self, folder: Path, search: Search, objective: str):
        self.folder = folder
        self.search = search
        self.objective = objective
        found = {path.parent: oracles.read(path) for path in folder.glob("trial_*/trial.json")}
        over = {path: trial for path, trial in found.items() if trial.status in oracles.OVER}
        self.rows = [self._row(path, over[path]) for path in sorted(over, key=lambda path: int(_name(path)))]

    @property
    def trained(self) -> list[dict[str, Any]]:
        """The rows of the trials that did not fail, the best one first."""
        return sorted((row for row in self.rows if not row["failed"]), key=lambda row: row[self.objective])

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of the others."""
        return [row for row in self.rows if row["failed"]]

    def write(self) -> None:
        """Write results.csv and what TensorBoard shows."""
        with files.whole(self.folder / CSV) as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, ["trial", *self.search.values, self.objective, *COLUMNS, "seed", "failed"])
            writer.writeheader()
            writer.writerows(self.rows)
        shutil.rmtree(self.folder / LOGS, ignore_errors=True)
        with files.whole(self.folder / LOGS) as path:
            self._write_hparams(path)

    def table(self, count: int = 10) -> str:
        """The best trials as text, a line each."""
        columns = ["trial", *self.search.values, self.objective, "minutes"]
        lines = [columns, *([text(row[column]) for column in columns] for row in self.trained[:count])]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(x, widths, strict=True)) for x in lines)

    def draw(self) -> None:
        """Draw the objective against each hyperparameter, a point a trial, medians as a line; below, all at once."""
        from matplotlib.figure import Figure

        values = {key: tried for key, tried in self.search.values.items() if len(tried) > 1} or self.search.values
        picture = Figure(figsize=(max(8, 2.2 * len(values)), 7), layout="constrained")
        above, below = picture.subfigures(2, 1)
        charts = above.subplots(1, len(values), sharey=True, squeeze=False)[0]
        for chart, (key, tried) in zip(charts, values.items(), strict=True):
            columns = [[row[self.objective] for row in self.trained if row[key] == value] for value in tried]
            for place, column in enumerate(columns):
                chart.scatter([place] * len(column), column, s=14, alpha=0.5, color="C0")
            known = [(place, column[len(column) // 2]) for place, column in enumerate(columns) if column]
            chart.plot(*zip(*known, strict=True), color="C1", marker="_", markersize=14)
            chart.set_xticks(range(len(tried)), [text(value) for value in tried])
            chart.set_xlim(-0.5, len(tried) - 0.5)
            chart.set_xlabel(_words(key))
            chart.grid(alpha=0.3)
        charts[0].set_ylabel(_words(self.objective))
        _parallel(below.subplots(), self.trained, values, self.objective)
        with files.whole(self.folder / PICTURE) as unfinished:
            picture.savefig(unfinished, format="png", dpi=110)

    def _row(self, folder: Path, trial: Trial) -> dict[str, Any]:
        chosen, found, failed = oracles.tried(trial, self.search.values), {}, ""
        if trial.status == TrialStatus.COMPLETED:
            found = json.loads((folder / trials.FIGURES).read_text())
        else:
            reason = folder / trials.FAILED
            failed = reason.read_text().strip() if reason.exists() else "the reason is not known"
        figures = {key: found.get(key) for key in (self.objective, *COLUMNS)}
        return {"trial": _name(folder), **chosen, **figures, "seed": seed(self.search.seed, chosen), "failed": failed}

    def _write_hparams(self, logs: Path) -> None:
        """Write each trial for TensorBoard's HParams; the columns are the same for all."""
        import tensorflow as tf
        from tensorboard.plugins.hparams import api

        writer = tf.summary.create_file_writer(str(logs))
        with writer.as_default():
            api.hparams_config(
                hparams=[api.HParam(key, api.Discrete([*tried])) for key, tried in self.search.values.items()],
                metrics=[api.Metric(self.objective, display_name=_words(self.objective))],
            )
        writer.close()
        for row in self.rows:
            writer = tf.summary.create_file_writer(str(logs / row["trial"]))
            with writer.as_default():
                api.hparams({key: row[key] for key in self.search.values}, trial_id=row["trial"])
                if not row["failed"]:
                    tf.summary.scalar(self.objective, row[self.objective], step=row["epochs"])
            writer.close()


def text(value: Any) -> str:
    """A value or a figure for a reader."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parallel(chart: Any, rows: Sequence[Mapping[str, Any]], values: Values, objective: str) -> None:
    """Parallel coordinates: an axis a hyperparameter and one for the objective, a line a trial, the best one dark.

    The lines of a value lie in a band, by their objective, so that none hides another. `rows` has the best one first.
    """
    from matplotlib import colormaps

    low, high = rows[0][objective], rows[-1][objective]
    span = (high - low) or 1.0
    for row in reversed(rows):
        share = (row[objective] - low) / span
        heights = [_height(tried, list(tried).index(row[key])) + BAND * share for key, tried in values.items()]
        heights.append((1 + BAND) * share)
        chart.plot(heights, color=colormaps["viridis"](0.95 * share), alpha=0.8, linewidth=2.5 - 1.5 * share)
    beside = {"textcoords": "offset points", "va": "center", "bbox": {"color": "white", "alpha": 0.8, "pad": 1}}
    for place, tried in enumerate(values.values()):
        for i, value in enumerate(tried):
            at = (place, _height(tried, i) + BAND / 2)
            chart.annotate(text(value), at, xytext=(-6, 0), ha="right", **beside)
    for height, figure in ((0.0, low), (1 + BAND, high)):
        chart.annotate(text(figure), (len(values), height), xytext=(6, 0), **beside)
    names = [*values, objective]
    chart.set_xticks(range(len(names)), [_words(name) for name in names])
    chart.set_xlim(-0.4, len(values) + 0.4)
    chart.set_ylim(-0.05, 1.05 + BAND)  # A label outside is not drawn, and few lines do not reach so far.
    chart.set_yticks([])
    chart.grid(axis="x")


def _height(tried: Sequence[Any], index: int) -> float:
    return index / (len(tried) - 1) if len(tried) > 1 else 0.5


def _name(folder: Path) -> str:
    """A trial's, from its folder."""
    return folder.name.removeprefix("trial_")


def _words(name: str) -> str:
    return name.replace("_", " ")
