"""Likelihood under a protocol, and what forbids to quote one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bachkeras.data import catalog, folder, splits
from bachkeras.evaluation.ngrams import ChordTrigram

if TYPE_CHECKING:
    from bachkeras.data.pipeline import Corpus
    from bachkeras.layers.frame import FrameDistribution
    from bachkeras.models.base import FrameModel

DRAWS = 64
"""Draws of z behind an importance-weighted bound."""

PROTOCOLS = {("jsb_quarter", "sets"): "Q88", ("jsb_16th", "voices"): "S16"}
"""Published benchmarks, by corpus and by what is scored: the sets of notes of the frames, or the labelled voices."""


def protocol(corpus: Corpus, frame: FrameDistribution | None = None) -> str:
    """What a likelihood is of: a benchmark's name, or corpus and contents, "chorales, voices with onsets".

    Args:
        corpus: the pieces that are scored.
        frame: the distribution that scores them; None: one over sets of notes.
    """
    contents = "voices" if frame is not None and frame.labelled else "sets"
    if frame is not None and frame.onsets:
        return f"{corpus.name}, {contents} with onsets"
    return PROTOCOLS.get((corpus.name, contents), f"{corpus.name}, {contents}")


def quoted(corpus: Corpus) -> Corpus:
    """The corpus as a quoted likelihood may see it.

    A key found by analysing a whole piece is knowledge of its future, so tonic and mode become unknown. Only the
    benchmark's own normalisation to C stays.
    """
    if corpus.name in splits.BENCHMARKS:
        return corpus
    hidden = ("tonic", "mode")
    pieces = [{key: value for key, value in piece.items() if key not in hidden} for piece in corpus.pieces]
    return dataclasses.replace(corpus, pieces=pieces)


def may_share_tunes(trained_on: Iterable[str], test: str) -> list[str]:
    """Those corpora whose training pieces may share tunes with a corpus' test split: a likelihood there is no figure.

    A corpus' own splits share none by its protocol. All `chorales*` have one table of splits, and what shares a tune
    with a benchmark test piece is in its test split. Of a folder nobody knows what it shares with others.

    Args:
        trained_on: corpora whose training split a model's weights have seen.
        test: the corpus of the test split.
    """
    protected = [name for name in catalog.NAMES if name.startswith("chorales") and test in catalog.NAMES]
    return [name for name in trained_on if name != test and name not in protected]


def objection(card: Mapping[str, Any], test: Corpus) -> str | None:
    """Why a run's model has no likelihood of a corpus' test split that could be quoted, or None.

    Args:
        card: the run's config.json, see `directory.card`.
        test: the test split.
    """
    unfair = may_share_tunes(card["trained_on"], test.name)
    if unfair:
        return f"the weights have seen {', '.join(unfair)}, whose pieces may share tunes with this test split"
    if card["data"]["name"] == test.name:
        then, now = card["data"]["version"], test.version
        if folder.is_folder(test.name) and then != now:
            return "the folder has changed since the run was trained on it, and pieces may be in other splits"
        if then.split(".")[0] != now.split(".")[0]:
            return f"the run was trained on version {then} of its corpus, and this is {now}, whose splits may be others"
    return None


def dropped_notes(model: FrameModel, pieces: Sequence[Mapping[str, Any]]) -> int:
    """Notes of some pieces that do not fit the model's voices."""
    return sum(int(np.sum(model.frame.events(piece)[2])) for piece in pieces)


def log_probs(model: FrameModel, corpus: Corpus, batch_size: int = 16) -> dict[str, np.ndarray]:
    """Log probabilities of each piece, whole, in nats: float64 `(pieces,)` each, as `FrameModel.log_probs` has them.

    All frames count, the first included.
    """
    batches = corpus.windows(None, shuffle=False).batch(batch_size)
    parts = [model.log_probs(batch) for batch in batches]
    log_p = {name: np.concatenate([np.asarray(part[name], np.float64) for part in parts]) for name in parts[0]}
    if len(log_p["frame"]) != len(corpus):
        raise ValueError(f"A piece without frames has no likelihood. Received: corpus={corpus.name!r}")
    return log_p


def importance_weighted(model: FrameModel, corpus: Corpus, batch_size: int = 64) -> float:
    """An upper bound of a VAE's nats per frame, importance-weighted over `DRAWS` draws of z, a micro average.

    Each of its windows is scored alone, without the music before it; all frames count.
    """
    log_p = 0.0
    for seed, batch in enumerate(corpus.windows(model.window, shuffle=False).batch(batch_size)):
        log_p += float(np.sum(model.log_prob(batch, samples=DRAWS, seed=seed), dtype=np.float64))
    return -log_p / corpus.frames


def chord_trigram(train: Corpus, test: Corpus) -> np.ndarray:
    """Log probabilities of the pieces of `test` as sets of notes under the `ChordTrigram` of `train`, `(pieces,)`."""
    trigram = ChordTrigram([piece["pianoroll"] for piece in train.pieces])
    return np.array([trigram.log_prob(piece["pianoroll"]).sum() for piece in test.pieces])


def clean_pieces(corpus: Corpus) -> list[int] | None:
    """Indices of those of the benchmark's test pieces that were published as clean; None for other corpora."""
    if corpus.name not in splits.BENCHMARKS:
        return None
    return splits.published_clean(corpus.name, (piece["id"] for piece in corpus.pieces))


def nats_per_frame(log_p: np.ndarray, corpus: Corpus, pieces: Sequence[int] | None = None) -> float | None:
    """Micro average of `-log_p` over the frames of some pieces, by default all; None for no pieces."""
    pieces = range(len(corpus)) if pieces is None else pieces
    frames = sum(len(corpus.pieces[i]["pianoroll"]) for i in pieces)
    return float(-sum(log_p[i] for i in pieces) / frames) if frames else None
