"""`bachkeras evaluate`: what models are worth, beside real Bach and beside what needs no network."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bachkeras import _files as files
from bachkeras import _presets as presets
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import report, style, tables
from bachkeras.evaluation import rows as all_rows
from bachkeras.evaluation.comparison import Comparison
from bachkeras.evaluation.judge import Judge
from bachkeras.evaluation.report import Shown
from bachkeras.training import directory, figures, samples

SHOWN = 4
"""Samples of each model on the page, the first ones, and as many test pieces."""


def evaluate(
    runs: Sequence[str | os.PathLike],
    out: Path,
    *,
    data: str | None = None,
    count: int | None = None,
    seed: int = 0,
    judge: str | os.PathLike | None = None,
    manual_dir: Path | None = None,
) -> list[dict[str, Any]]:
    """Score runs on a test split, and samples of theirs beside Bach; write evaluation.json and report.html.

    Args:
        runs: presets' names and run directories.
        out: folder for the two files; it is made where it is not there.
        data: the corpus; None: for each run the one that it was trained on.
        count: samples of each model; None: as many as there are test pieces.
        seed: of the samples; the same seed gives the same figures.
        judge: a preset or a run whose model says how probable it finds the samples.
        manual_dir: see `catalog.build`.

    Returns:
        The rows of evaluation.json: by corpus and kind of voices, those of the models and then the references.

    Raises:
        ValueError: if something is no run, or an argument is out of its range, or a corpus has not the voices that a
            model writes.
    """
    if count is not None and count < 1:
        raise ValueError(f"There is at least one sample. Received: samples={count}")
    files.check_folder(out)
    runs = list(dict.fromkeys(presets.place(run).absolute() for run in runs))
    jurors = [presets.place(judge).absolute()] if judge else []
    names = _names([*runs, *jurors])
    cards = {run: directory.card(run) for run in runs}
    for run in runs:
        directory.check_model(run)
    jury = directory.judge(jurors[0])._replace(name=names[jurors[0]]) if jurors else None
    comparisons = _Comparisons(jury, manual_dir)
    rows: dict[Comparison, list[dict[str, Any]]] = {}
    shown = []
    for run, card in cards.items():
        model = directory.load(run)
        comparison = comparisons.of(card, data, model)
        number, test = count or len(comparison.test), comparison.test
        print(f"{names[run]}: its likelihood and {number} samples, beside {len(test)} test pieces of {test.name}.")
        row, pieces = figures.evaluate(
            model,
            names[run],
            card,
            comparison,
            count=count,
            seed=seed,
            minutes=figures.minutes(run),
            unfinished=directory.unfinished(run),
        )
        rows.setdefault(comparison, []).append(row)
        shown.append(
            _shown(names[run], pieces, comparison)._replace(
                like=_title(comparison), history=figures.history(run), attention=_attention(model, pieces[0])
            )
        )
    everything = [row for comparison in rows for row in (*rows[comparison], *comparison.references(count, seed))]
    bach = [_shown(_title(comparison), comparison.test.pieces, comparison) for comparison in rows]
    out.mkdir(parents=True, exist_ok=True)
    report.write(out / "report.html", everything, shown, bach)
    files.write_json(out / "evaluation.json", everything)
    return everything


class _Comparisons:
    """A comparison for each corpus and kind of voices, made when it is first needed."""

    def __init__(self, judge: Judge | None, manual_dir: Path | None):
        self.judge = judge
        self.manual_dir = manual_dir
        self.corpora: dict[tuple[str, bool], dict[str, Corpus]] = {}
        self.made: dict[tuple[str, bool, bool], Comparison] = {}

    def of(self, card: Mapping[str, Any], data: str | None, model: keras.Model) -> Comparison:
        """The one for a model's samples on the corpus that its run was trained on, or on another."""
        place = directory.place(card, data)
        if place not in self.corpora:
            self.corpora[place] = {
                split: directory.corpus(card, split, data=data, manual_dir=self.manual_dir)
                for split in ("train", "test")
            }
        voices, labelled = self.corpora[place]["test"].voices, model.frame.labelled
        if labelled and voices != model.frame.voices:
            raise ValueError(
                f"The model writes {model.frame.voices} labelled voices, and the corpus has {voices or 'none'}. "
                f"Received: data={place[0]!r}"
            )
        if (*place, labelled) not in self.made:
            self.made[*place, labelled] = Comparison(self.corpora[place], labelled, self.judge)
        return self.made[*place, labelled]


def _title(comparison: Comparison) -> str:
    """What the test pieces of a comparison are called."""
    return tables.bach(comparison.test.name, "labelled" if comparison.labelled else "by rank")


def _shown(name: str, pieces: Sequence[Mapping[str, Any]], comparison: Comparison) -> Shown:
    """What the page shows of some pieces."""
    heard = comparison.parts(pieces)
    labelled, shift = comparison.labelled, comparison.test.sounding_shift
    return Shown(
        name=name,
        scores=[samples.score(piece, labelled, shift) for piece in pieces[:SHOWN]],
        intervals=_shares(style.melodic_intervals(heard, 0)),
        durations=_shares(style.durations(heard)),
    )


def _names(runs: Sequence[Path]) -> dict[Path, str]:
    """What runs are called: the directory's name, or its whole path where that is another's or a reference's name."""
    names = Counter(run.name for run in {*runs})
    reserved = {all_rows.BACH, *all_rows.SAMPLERS.values()}
    return {run: run.name if names[run.name] == 1 and run.name not in reserved else str(run) for run in runs}


def _attention(model: keras.Model, piece: Mapping[str, Any]) -> np.ndarray | None:
    """Where the model looks while it writes a piece, `(heads, time, time)`; None where it has no attention."""
    if not hasattr(model, "attention") or not model.core.attention_heads:
        return None
    (batch,) = Corpus([piece]).windows(None, shuffle=False).batch(1)
    return model.attention(batch)[0].numpy()


def _shares(counts: Counter) -> dict:
    total = counts.total()
    return {value: number / total for value, number in sorted(counts.items())}
