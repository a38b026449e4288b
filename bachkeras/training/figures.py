"""The figures of a model: its row of evaluation.json."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import codes, collapse, endings, likelihood, parts, rows
from bachkeras.evaluation.comparison import Comparison, add_nats
from bachkeras.evaluation.rows import Row
from bachkeras.training import checkpoint, samples, settings


def evaluate(
    model: keras.Model,
    name: str,
    card: Mapping[str, Any],
    comparison: Comparison,
    *,
    count: int | None = None,
    seed: int = 0,
    minutes: float | None = None,
    unfinished: bool = False,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A model's row of evaluation.json, and the samples that it is about.

    The samples are quoted ones: temperature 1, top_p 1, nothing filtered. Each stands beside a test piece and has its
    length and timestep; its key and place in the bar are drawn from those of the training pieces.

    Args:
        model: a `FrameModel`.
        name: of the row.
        card: its run's config.json, see `directory.card`. There is no likelihood where `likelihood.objection` has one.
        comparison: on the corpus, with the voices as the model writes them.
        count: samples; None: as many as test pieces.
        seed: of the samples.
        minutes: of its training.
        unfinished: whether that goes on.
    """
    test = likelihood.quoted(comparison.test)
    objection = likelihood.objection(card, test)
    row = comparison.row(name, contaminated=objection is not None, temperature=1.0, top_p=1.0, seed=seed)
    row.add({"protocol": likelihood.protocol(test, model.frame), "parameters": parameters(model)}, "not known")
    row.add({"train_minutes": minutes and round(minutes, 1)}, "no history.csv that can be read")
    if unfinished:
        row.remark(["train_minutes"], "the training is not finished")
    _add_likelihood(row, model, test, objection)
    beside = comparison.beside(count)
    drawn = settings.draw_beside(
        settings.of_corpus(comparison.corpora["train"]), [parts.timestep(piece) for piece in beside], seed
    )
    pieces = samples.compose(model, drawn, [len(piece["pianoroll"]) for piece in beside], seed=seed)
    comparison.add_samples(row, pieces)
    row.leave_out(["floors"], "they are the real pieces'")
    others = [other for other in card["trained_on"] if other != test.name]
    if others:
        copies = ("longest_copy_beats_median", "longest_copy_beats_p95")
        row.remark(copies, f"of {test.name}, not of {', '.join(others)}, where the model was trained too")
    _add_latents(row, model, test, comparison.corpora["train"])
    _add_endings(row, model, card, test.name, len(beside), seed)
    return row.to_dict(), pieces


def parameters(model: keras.Model) -> int:
    """How many numbers training can change."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def minutes(run: Path) -> float | None:
    """How long a run's epochs took, by its history.csv; None where it has none that can be read."""
    columns = history(run)
    return columns["seconds"][-1] / 60 if columns and "seconds" in columns else None


def history(run: Path) -> dict[str, list[float]] | None:
    """The columns of a run's history.csv, nan where an epoch does not say; None where it has none that can be read."""
    try:
        with open(run / "history.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        return {name: [math.nan if line[name] == "" else float(line[name]) for line in lines] for name in lines[0]}
    except (OSError, ValueError, TypeError, IndexError, csv.Error):
        return None


def best_epoch(run: Path, model: type[keras.Model]) -> dict[str, float]:
    """The line of a run's history.csv that tells of the best epoch of its last stage.

    Args:
        run: a run directory whose training is over.
        model: the class of its model.
    """
    columns = history(run)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    monitors = [*model.monitors.values()]
    return rows[checkpoint.Progress(rows, monitors, len(monitors)).best_epoch]


def _add_likelihood(row: Row, model: keras.Model, test: Corpus, objection: str | None) -> None:
    dropped = likelihood.dropped_notes(model, test.pieces)
    if model.likelihood is None:
        row.leave_out(rows.LIKELIHOOD, "a model of this kind has no likelihood")
    elif objection:
        row.leave_out(rows.LIKELIHOOD, objection)
    elif dropped:
        row.leave_out(rows.LIKELIHOOD, f"{dropped} notes of the test split do not fit the model's voices")
    else:
        log_p = likelihood.log_probs(model, test)
        row.add({"likelihood": model.likelihood}, "not known")
        sounds = log_p["frame"] + log_p.get("latent", 0.0)
        add_nats(row, sounds, test, model.frame.voices if model.frame.labelled else None)
        ending = float(-log_p["ending"].mean()) if "ending" in log_p else None
        row.add({"test_ending_nats_per_piece": ending}, "the model ends no piece")
        bound = likelihood.importance_weighted(model, test) if hasattr(model, "posterior") else None
        row.add({"importance_weighted_nats_per_frame": bound}, "the model has no latent vector")


def _add_latents(row: Row, model: keras.Model, test: Corpus, train: Corpus) -> None:
    """What the model's verbs allow, see `collapse.figures`, and what n-grams of the codes of `train` are worth."""
    try:
        found = collapse.figures(model, test, model.window)
        if hasattr(model, "codes"):
            counted, scored = codes.phases(model, train), codes.pieces(model, test)
            found["code_unigram_nats_per_code"] = codes.unigram_nats(counted, scored, model.code_sizes)
            found["code_bigram_nats_per_code"] = codes.bigram_nats(counted, scored, model.code_sizes)
    except collapse.Diverged as error:
        row.leave_out((*rows.LATENT, *rows.CODES, *rows.LATENT_OR_CODES), str(error))
        return
    row.add(found, "not known")
    kinds = {"no latent vector": rows.LATENT, "no codes": rows.CODES, "no latents": rows.LATENT_OR_CODES}
    for reason, keys in kinds.items():
        missing = [key for key in keys if key not in found]
        if missing:
            row.leave_out(missing, f"the model has {reason}")


def _add_endings(row: Row, model: keras.Model, card: Mapping[str, Any], corpus: str, count: int, seed: int) -> None:
    """How pieces end, in settings of the run's own corpus, that the model may end itself."""
    own = card["data"]["name"]
    if not model.ending or own != corpus:
        reason = f"it ends pieces like those of {own}" if model.ending else "the model ends no piece"
        row.leave_out(rows.ENDINGS, reason)
        return
    drawn = settings.draw(settings.known(card), count, seed)
    longest = settings.longest(card)
    pieces = samples.compose(model, drawn, [longest] * count, until_end=True, seed=seed)
    ended = [piece for piece in pieces if len(piece["pianoroll"]) < longest]
    row.add({"cut_share": 1 - len(ended) / count}, "not known")
    row.add(endings.figures(ended), "the model ended no piece whose tonic is known")
