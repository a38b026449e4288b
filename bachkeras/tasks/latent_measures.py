"""What the latent space of a VAE is worth: interpolations, beside samples from the prior, and an attribute's vector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import collapse, likelihood
from bachkeras.evaluation.comparison import Comparison
from bachkeras.models.base import FrameModel
from bachkeras.tasks import interpolating

PAIRS = 50
"""Interpolations."""

DRAWN = 100
"""Pieces from the prior to which the attribute's vector is added."""

SHOWN = (
    "samples",
    "judge_nats_per_frame",
    "parallels_per_100_beats",
    "hold_ratio",
    "js_chord_type",
    "ngram_jsd",
    "self_bleu_4_soprano",
    "distinct_3",
)
"""Figures of evaluation.json that the rows have too."""


def evaluate(
    model: FrameModel, comparison: Comparison, *, pairs: int | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows for the test windows, for interpolations between pairs of them, and for as many pieces from the prior.

    Then, of an attribute, notes that move: the quarter of the training windows with the most of it against the quarter
    with the least gives a vector (`VAE.attribute_vector`), and pieces from the prior are written with it subtracted, as
    drawn, and added.

    A window is told the conditions that a quoted likelihood is told. All is written at temperature 1; interpolations
    with the same random draws, so that their steps differ by z alone. The difference of two pieces is 1 - F1 over their
    cells; neighbours are successive steps of an interpolation, strangers the same step of two of them.

    Args:
        model: a VAE.
        comparison: on the corpus, with the voices as the model writes them.
        pairs: of test windows; None: `PAIRS`.
        seed: of the pairs and of what is written.

    Raises:
        ValueError: if no test piece has a whole window.
    """
    test = likelihood.quoted(comparison.test)
    windows = [window for piece in test.pieces for window in _windows(piece, model.window)]
    if not windows:
        raise ValueError(f"No test piece has {model.window} frames. Received: data={test.name!r}")
    random = np.random.default_rng(seed)
    chosen = random.choice(len(windows), (pairs or PAIRS, 2), replace=len(windows) < 2 * (pairs or PAIRS))
    ways = [_way(model, windows[i], windows[j], seed) for i, j in chosen.tolist()]
    interpolated = list(itertools.chain(*ways))
    z = random.standard_normal((len(interpolated), 1, model.latent), np.float32)
    like = [windows[i] for i, _ in chosen.tolist() for _ in range(interpolating.STEPS)]
    prior = [interpolating.write(model, z[i], window, seed=seed + i) for i, window in enumerate(like)]
    return [
        _row("real bach", comparison, windows, seed),
        _row("interpolated", comparison, interpolated, seed) | _differences(ways),
        _row("prior", comparison, prior, seed),
        *_attribute(model, comparison, random, seed),
    ]


def _way(model: FrameModel, a: dict[str, Any], b: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """The pieces from one window to another."""
    ends = [interpolating.latents(model, window) for window in (a, b)]
    return [interpolating.write(model, z, a, seed=seed) for z in model.interpolate(*ends, interpolating.STEPS)]


def _windows(piece: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """The whole windows of a piece, each a piece of its own."""
    frames = len(piece["pianoroll"])
    arrays = {name for name, value in piece.items() if np.ndim(value) and len(value) == frames and name != "timestep"}
    return [
        {name: value[start : start + size] if name in arrays else value for name, value in piece.items()}
        for start in range(0, frames - size + 1, size)
    ]


def _differences(ways: Sequence[Sequence[dict[str, Any]]]) -> dict[str, float]:
    """Mean differences between neighbours and between strangers."""

    def difference(a, b):
        return 1 - collapse.f1(a["pianoroll"], b["pianoroll"])

    neighbours = [difference(a, b) for way in ways for a, b in itertools.pairwise(way)]
    strangers = [difference(a, b) for one, other in itertools.pairwise(ways) for a, b in zip(one, other, strict=True)]
    ends = [difference(way[0], way[-1]) for way in ways]
    named = {"neighbours": neighbours, "strangers": strangers, "ends": ends}
    return {f"difference_of_{name}": float(np.mean(values)) for name, values in named.items() if values}


def _attribute(model: FrameModel, comparison: Comparison, random: np.random.Generator, seed: int) -> list[dict]:
    """Rows for pieces that should move less, as they were drawn, and more."""
    train = likelihood.quoted(comparison.corpora["train"])
    windows = sorted((window for piece in train.pieces for window in _windows(piece, model.window)), key=_moving)
    quarter = max(len(windows) // 4, 1)
    ends = [Corpus(some).windows(model.window, shuffle=False) for some in (windows[-quarter:], windows[:quarter])]
    vector = model.attribute_vector(*(next(iter(end.batch(quarter))) for end in ends))
    drawn = random.standard_normal((DRAWN, 1, model.latent), np.float32)
    like = [windows[i] for i in random.integers(len(windows), size=DRAWN).tolist()]
    found = []
    for way, times in (("subtracted", -1), ("as drawn", 0), ("added", 1)):
        pieces = [
            interpolating.write(model, z + times * vector, one, seed=seed) for z, one in zip(drawn, like, strict=True)
        ]
        moving = float(np.mean([_moving(piece) for piece in pieces]))
        found.append(_identity("attribute, moving notes", way, comparison, pieces, seed) | {"notes_a_frame": moving})
    return found


def _moving(piece: dict[str, Any]) -> float:
    """Notes a frame that did not sound in the frame before."""
    roll = np.asarray(piece["pianoroll"], bool)
    return float((roll[1:] & ~roll[:-1]).sum() / max(len(roll) - 1, 1))


def _identity(task: str, way: str, comparison: Comparison, pieces: Sequence, seed: int) -> dict[str, Any]:
    return {"task": task, "way": way, "data": comparison.test.name, "pieces": len(pieces), "seed": seed}


def _row(way: str, comparison: Comparison, pieces: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    row = comparison.row(way, contaminated=False, seed=seed)
    comparison.add_samples(row, pieces)
    found = row.to_dict()
    return _identity("interpolate", way, comparison, pieces, seed) | {
        name: found[name] for name in SHOWN if found[name] is not None
    }
