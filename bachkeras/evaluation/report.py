"""A page on what models are worth: tables, samples to see and to hear, curves. One file that needs no network."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np

from bachkeras import _files as files
from bachkeras.evaluation import charts, columns, tables
from bachkeras.music import render
from bachkeras.music.score import Score

QUARTERS_PER_MINUTE = 80
"""The tempo of a score that has none."""

ROLL_DOTS_PER_INCH = 110

ARROWS = {columns.LOWER: "↓", columns.HIGHER: "↑", columns.NEAR: "≈"}
"""Signs for the direction that is good."""

NOT_CURVES = ("epoch", "seconds", "stage")
"""Columns of a history that are no curves."""


class Shown(NamedTuple):
    """What the page shows of a model, or of Bach.

    Attributes:
        name: of the model, as its row has it.
        scores: samples, each with a picture and a player.
        intervals: share of each melodic interval of the highest voice, semitones, signed.
        durations: share of each duration, in quarter lengths.
        history: the columns of the run's history.csv; values may be missing.
        attention: float `(heads, time, time)` of the first sample, row = the frame that looks, column = the frame seen.
        like: name of the Bach whose shares stand beside the model's; '': nobody's.
    """

    name: str
    scores: Sequence[Score]
    intervals: Mapping[int, float]
    durations: Mapping[float, float]
    history: Mapping[str, Sequence[float | None]] | None = None
    attention: np.ndarray | None = None
    like: str = ""


def write(
    path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], shown: Sequence[Shown], bach: Sequence[Shown]
) -> None:
    """Writes the page; the same values are the same bytes.

    Args:
        path: the file, replaced as a whole: it is never half-written.
        rows: of evaluation.json.
        shown: the models.
        bach: Bach, for each corpus and grid.

    Raises:
        ValueError: if a model is compared with a Bach who is not there.
        OSError: if the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bachkeras.evaluation", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = tables.groups(rows)
    used = {column.key: column for group in groups for column in group.columns}
    by_name = {one.name: one for one in bach}
    everybody = [*bach, *shown]
    page = environment.get_template("report.html").render(
        models=[one.name for one in shown],
        groups=groups,
        meanings=_meanings(used),
        arrows=ARROWS,
        portraits=[_portrait(one, by_name) for one in everybody],
        places={one.name: f"shown-{i}" for i, one in enumerate(everybody, 1)},
    )
    files.replace(path, page.encode())


def _meanings(used: Mapping[str, Any]) -> dict[str, list[columns.Column]]:
    """The columns of some table, by subject, in the order of the tables."""
    sections = {"Setting": columns.SETTINGS, **columns.SECTIONS}
    found = {subject: [column for column in some if column.key in used] for subject, some in sections.items()}
    return {subject: some for subject, some in found.items() if some}


def _portrait(shown: Shown, bach: Mapping[str, Shown]) -> dict[str, Any]:
    """What the template shows of a model, or of Bach."""
    if shown.like and shown.like not in bach:
        raise ValueError(f"Nobody is there to compare with. Received: like={shown.like!r} with bach={list(bach)}")
    other = bach.get(shown.like)
    shares = {
        "Melodic intervals of the highest voice": charts.intervals(shown.intervals, other and other.intervals),
        "Durations of notes": charts.durations(shown.durations, other and other.durations),
    }
    return {
        "name": shown.name,
        "like": shown.like,
        "samples": [_sample(score) for score in shown.scores],
        "shares": {title: _uri(png) for title, png in shares.items()},
        "curves": {title: _uri(png) for title, png in _curves(shown.history or {}).items()},
        "attention": None if shown.attention is None else _uri(charts.attention(shown.attention)),
        "reach": None if shown.attention is None else _uri(charts.reach(shown.attention)),
    }


def _curves(history: Mapping[str, Sequence[float | None]]) -> dict[str, bytes]:
    """A picture for each quantity of a history, its values in training and in validation together."""
    names = dict.fromkeys(name.removeprefix("val_") for name in history if name not in NOT_CURVES)
    epochs = history.get("epoch", range(max(map(len, history.values()), default=0)))
    return {name: charts.curves(epochs, history.get(name, ()), history.get(f"val_{name}", ())) for name in names}


def _sample(score: Score) -> dict[str, Any]:
    """A score for the page: its picture, and its notes for the player."""
    ticks = np.stack([score.notes["start"], score.notes["end"]])
    start, end = np.rint(1000 * _seconds(score, ticks)).astype(int)
    notes = np.stack([start, end - start, score.notes["pitch"]], axis=1)
    return {
        "title": score.title,
        "picture": _uri(render.png(score, ROLL_DOTS_PER_INCH)),
        "seconds": float(_seconds(score, np.array(score.end))),
        "notes": notes.ravel().tolist(),  # start and length in milliseconds, pitch, and so on
    }


def _seconds(score: Score, ticks: np.ndarray) -> np.ndarray:
    """When ticks of a score sound, in seconds, by its tempos."""
    tempos = {0: QUARTERS_PER_MINUTE} | {tempo.tick: tempo.quarters_per_minute for tempo in score.tempos}
    changes = np.array(sorted(tempos))
    pace = np.array([60 / tempos[tick] / score.ticks_per_quarter for tick in changes.tolist()])  # seconds a tick
    at_change = np.cumsum([0, *np.diff(changes) * pace[:-1]])
    latest = np.searchsorted(changes, ticks, side="right") - 1
    return at_change[latest] + (ticks - changes[latest]) * pace[latest]


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
