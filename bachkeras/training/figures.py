"""The figures of a model: its row of evaluation.json."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import collapse, endings, likelihood, rows
from bachkeras.evaluation.comparison import Comparison, add_nats
from bachkeras.evaluation.rows import Row
from bachkeras.training import samples


def evaluate(
    model: keras.Model,
    name: str,
    card: Mapping[str, Any],
    comparison: Comparison,
    *,
    count: int | None = None,
    seed: int = 0,
    minutes: float | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A model's row of evaluation.json, and the samples that it is about.

    The samples are quoted ones: temperature 1, top_p 1, nothing filtered, as long as the test pieces, each in a setting
    drawn from those of the training pieces.

    Args:
        model: a `FrameModel`.
        name: of the row.
        card: its run's config.json, see `directory.card`. A model whose weights saw a corpus that may share tunes
            with the test split gets no likelihood.
        comparison: on the corpus, with the voices as the model writes them.
        count: samples; None: as many as test pieces.
        seed: of the samples.
        minutes: of its training.
    """
    test = likelihood.quoted(comparison.test)
    unfair = likelihood.may_share_tunes(card["trained_on"], test.name)
    row = comparison.row(name, contaminated=bool(unfair), temperature=1.0, top_p=1.0, seed=seed)
    row.add({"protocol": likelihood.protocol(test, model.frame), "parameters": model.count_params()}, "not known")
    row.add({"train_minutes": minutes and round(minutes, 1)}, "there is no history.csv")
    _add_likelihood(row, model, test, unfair)
    lengths = comparison.lengths(count)
    settings = samples.draw(samples.settings(comparison.corpora["train"]), len(lengths), seed)
    pieces = samples.compose(model, settings, lengths, seed=seed)
    comparison.add_samples(row, pieces)
    row.leave_out(["floors"], "they are the real pieces'")
    _add_latents(row, model, test, card["config"]["data"]["window"] or None)
    if model.ending:
        row.add(_endings(model, card, len(comparison.test), seed), "the tonic of no piece is known")
    else:
        row.leave_out(rows.ENDINGS, "the model ends no piece")
    return row.to_dict(), pieces


def minutes(run: Path) -> float | None:
    """How long a run's epochs took, by its history.csv; None where it has none that can be read."""
    columns = history(run)
    return columns["seconds"][-1] / 60 if columns and "seconds" in columns else None


def history(run: Path) -> dict[str, list[float]] | None:
    """The columns of a run's history.csv; None where it has none that can be read."""
    try:
        with open(run / "history.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        return {name: [float(line[name]) for line in lines] for name in lines[0]}
    except (OSError, ValueError, TypeError, IndexError):
        return None


def _add_likelihood(row: Row, model: keras.Model, test: Corpus, unfair: Sequence[str]) -> None:
    dropped = likelihood.dropped_notes(model, test.pieces)
    keys = [key for key in rows.LIKELIHOOD if key != "frames"]
    if model.likelihood is None:
        row.leave_out(keys, "a model of this kind has no likelihood")
    elif unfair:
        seen = ", ".join(unfair)
        row.leave_out(keys, f"the weights have seen {seen}, whose pieces may share tunes with this test split")
    elif dropped:
        row.leave_out(keys, f"{dropped} notes of the test split do not fit the model's voices")
    else:
        log_p = likelihood.log_probs(model, test)
        row.add({"likelihood": model.likelihood}, "not known")
        add_nats(row, log_p["frame"], test, model.frame.voices if model.frame.labelled else None)
        ending = float(-log_p["ending"].mean()) if "ending" in log_p else None
        row.add({"test_ending_nats_per_piece": ending}, "the model ends no piece")


def _add_latents(row: Row, model: keras.Model, test: Corpus, window: int | None) -> None:
    """What the model's verbs allow, see `collapse.figures`."""
    try:
        found = collapse.figures(model, test, window)
    except ValueError as error:  # Of a model that diverged.
        row.leave_out((*rows.LATENT, *rows.CODES, *rows.LATENT_OR_CODES), str(error))
        return
    row.add(found, "not known")
    kinds = {"no latent vector": rows.LATENT, "no codes": rows.CODES, "no latents": rows.LATENT_OR_CODES}
    for reason, keys in kinds.items():
        missing = [key for key in keys if key not in found]
        if missing:
            row.leave_out(missing, f"the model has {reason}")


def _endings(model: keras.Model, card: Mapping[str, Any], count: int, seed: int) -> dict[str, float | None]:
    """How pieces end that the model ends itself; `cut_share` of them it does not."""
    settings = samples.draw(samples.known_settings(card), count, seed)
    longest = samples.longest(card)
    pieces = samples.compose(model, settings, [longest] * count, until_end=True, seed=seed)
    cut = sum(len(piece["pianoroll"]) == longest for piece in pieces)
    return {**endings.figures(pieces), "cut_share": cut / count}
