"""The figures of a finished run: the rows of its evaluation.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from bachkeras.data.pipeline import UNKNOWN, Corpus
from bachkeras.evaluation import endings, likelihood
from bachkeras.layers.frame import FrameDistribution
from bachkeras.training import samples


def evaluate(
    model: keras.Model, name: str, card: Mapping[str, Any], corpora: Mapping[str, Corpus], minutes: float
) -> list[dict[str, Any]]:
    """Rows of evaluation.json: the model and the chord trigram on the test split.

    Args:
        model: a `FrameModel`.
        name: of the model's row.
        card: its run's config.json, see `directory.card`. A model whose weights saw a corpus that may share tunes
            with the test split gets no likelihood.
        corpora: by split.
        minutes: of its training.
    """
    test = likelihood.quoted(corpora["test"])
    trigram = likelihood.ChordTrigram([piece["pianoroll"] for piece in corpora["train"].pieces])
    floor = np.array([trigram.log_prob(piece["pianoroll"]).sum() for piece in test.pieces])
    row = {
        "model": name,
        **_scored(test, model.frame),
        "seed": card["seed"],
        "parameters": model.count_params(),
        "train_minutes": round(minutes, 1),
    }
    unfair = likelihood.may_share_tunes(card["trained_on"], test.name)
    dropped = dropped_notes(model, test)
    if unfair:
        reason = f"the weights have seen {', '.join(unfair)}, whose pieces may share tunes with this test split"
        row |= {"likelihood": None, "notes": reason}
    elif dropped:
        row |= {"likelihood": None, "notes": f"{dropped} notes of the test split do not fit the model's voices"}
    else:
        row |= {"likelihood": model.likelihood, **_model_likelihoods(model, test)}
    if model.ending:
        row["endings"] = _endings(model, card, corpora["test"])
    return [row, {"model": "chord trigram", **_scored(test), "likelihood": "exact", **_likelihoods(floor, test)}]


def dropped_notes(model: keras.Model, corpus: Corpus) -> int:
    """Notes of a corpus that do not fit the model's voices."""
    return sum(int(np.sum(model.frame.events(piece)[2])) for piece in corpus.pieces)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The rows of evaluation.json as lines."""
    for row in rows:
        figure, clean = row.get("test_nats_per_frame"), row.get("clean_nats_per_frame")
        text = row.get("notes", "")
        if figure is not None:
            text = f"{figure:.3f} nats/frame on the test split of {row['protocol']}"
            text += f", {clean:.3f} on its clean pieces" if clean else ""
        if "test_nats_per_note" in row:
            text += f"; {row['test_nats_per_note']:.4f} nats/note"
            text += f", {row['clean_nats_per_note']:.4f} clean" if clean else ""
        print(f"{row['model']}: {text}")
        if "endings" in row:
            print(f"{row['model']}: {_ending_text(row['endings'])}")


def _scored(test: Corpus, frame: FrameDistribution | None = None) -> dict[str, Any]:
    """What a row is about."""
    return {"data": test.name, "protocol": likelihood.protocol(test, frame), "frames": test.frames}


def _model_likelihoods(model: keras.Model, test: Corpus) -> dict[str, float | None]:
    """Of the frames; labelled, of a note too, which is a frame's by the number of voices; of the endings apart."""
    log_p = likelihood.log_probs(model, test)
    found = _likelihoods(log_p["frame"], test)
    if model.frame.labelled:
        found |= {
            key.replace("frame", "note"): None if value is None else value / model.frame.voices
            for key, value in found.items()
        }
    if "ending" in log_p:
        found["test_ending_nats_per_piece"] = float(-log_p["ending"].mean())
    return found


def _likelihoods(log_p: np.ndarray, test: Corpus) -> dict[str, float | None]:
    clean = likelihood.clean_pieces(test)
    return {
        "test_nats_per_frame": likelihood.nats_per_frame(log_p, test),
        "clean_nats_per_frame": None if clean is None else likelihood.nats_per_frame(log_p, test, clean),
    }


def _endings(model: keras.Model, card: Mapping[str, Any], test: Corpus) -> dict[str, Any]:
    """How as many samples as there are test pieces end, at temperature 1, beside the test pieces."""
    pieces = samples.compose(model, card, count=len(test), length=None, seed=card["seed"])
    rolls = [music["pianoroll"] for music, _ in pieces]
    real = [piece["pianoroll"] for piece in test.pieces]
    return {
        "samples": len(pieces),
        "on_tonic": endings.on_tonic(rolls, [setting.tonic for _, setting in pieces]),
        "real_on_tonic": endings.on_tonic(real, [int(piece.get("tonic", UNKNOWN["tonic"])) for piece in test.pieces]),
        "mean_frames": float(np.mean([len(roll) for roll in rolls])),
        "real_mean_frames": float(np.mean([len(roll) for roll in real])),
        "longest": samples.longest(card),
        "cut": sum(len(roll) >= samples.longest(card) for roll in rolls),
    }


def _ending_text(found: Mapping[str, Any]) -> str:
    text = f"{found['samples']} samples of {found['mean_frames']:.0f} frames on average, Bach's test pieces "
    text += f"{found['real_mean_frames']:.0f}; {found['cut']} cut at {found['longest']}"
    if found["on_tonic"] is not None:
        text += f"; {found['on_tonic']:.0%} end on the tonic in the bass, Bach's {found['real_on_tonic']:.0%}"
    return text
