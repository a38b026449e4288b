"""A classifier as a judge: can samples be told from Bach?"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy import optimize, special

from bachkeras.evaluation.parts import Parts
from bachkeras.music.voices import REST

QUARTERS = 16
"""Length of what the classifier hears, unless a piece is shorter."""

WIDEST = 12
"""Semitones; wider intervals of the highest voice count as this wide."""

PENALTY = 10.0
"""Half of it times the squared weights is added to the loss, a sum over the passages."""


def accuracy(samples: Sequence[Parts], real: Sequence[Parts], seed: int = 0) -> float | None:
    """Share of held-out passages that a classifier puts right, samples or Bach; .5: they cannot be told apart.

    A classifier two-sample test (Lopez-Paz and Oquab 2017). Passages of `QUARTERS` quarters of the samples and of as
    many real pieces, drawn at random; logistic regression on `features` learns from half of the pieces and is asked
    about the other half, then the other way round. Both kinds weigh the same, however many passages they have.

    Args:
        samples: pieces.
        real: training pieces.
        seed: of the draws and the halves.

    Returns:
        None where there are not two pieces of each kind.
    """
    random = np.random.default_rng(seed)
    count = min(len(samples), len(real))
    if count < 2:
        return None
    kinds = [_halves([pieces[i] for i in random.permutation(len(pieces))[:count]]) for pieces in (real, samples)]
    shares = []
    for learned, asked in ((0, 1), (1, 0)):
        weights, centre, scale = _fit(*(halves[learned] for halves in kinds))
        for sign, halves in zip((-1, 1), kinds, strict=True):
            scores = ((halves[asked] - centre) / scale) @ weights[:-1] + weights[-1]
            shares.append(np.mean((sign * scores > 0) + 0.5 * (scores == 0)))
    return float(np.mean(shares))


def features(parts: Parts) -> np.ndarray:
    """What the classifier hears of a passage, means over its frames: float64 `(227,)`.

    Shares of: pitch classes; classes of the notes above the lowest; numbers of notes; steps of the highest and of the
    lowest voice; from which interval class to which one two neighbouring voices go where both move; frames in which
    each of four voices, by rank, stays.
    """
    voices = _ranked(parts)
    sounds = voices != REST
    now, before, moves = voices[1:], voices[:-1], sounds[1:] & sounds[:-1]
    notes = sounds.sum(1)
    lowest = voices[np.arange(len(voices)), np.maximum(notes - 1, 0)]
    found = [
        _histogram(voices[sounds] % 12, 12, len(voices)),
        _histogram(((voices - lowest[:, None]) % 12)[sounds], 12, len(voices)),
        _histogram(notes, 5, len(voices)),
    ]
    for before_one, now_one in ((voices[:-1, 0], voices[1:, 0]), (lowest[:-1], lowest[1:])):
        both = (before_one != REST) & (now_one != REST)
        steps = np.clip((now_one - before_one)[both], -WIDEST, WIDEST) + WIDEST
        found.append(_histogram(steps, 2 * WIDEST + 1, len(now)))
    classes = (voices[:, :-1] - voices[:, 1:]) % 12
    both = (moves & (now != before))[:, :-1] & (moves & (now != before))[:, 1:]
    found.append(_histogram((12 * classes[:-1] + classes[1:])[both], 144, len(now)))
    found.append((moves & (now == before)).sum(0) / max(len(now), 1))
    return np.concatenate(found)


def _ranked(parts: Parts) -> np.ndarray:
    """The four highest notes of each frame from the top, then rests, int `(time, 4)`: labelled or not."""
    ordered = -np.sort(-np.where(parts.voices == REST, -1, parts.voices), axis=1)[:, :4]
    return np.where(ordered < 0, REST, ordered)


def _histogram(values: np.ndarray, size: int, frames: int) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=size)[:size] / max(frames, 1)


def _halves(pieces: Sequence[Parts]) -> list[np.ndarray]:
    """Features of the passages of every other piece, and of the rest: `(passages, n)` each."""
    return [np.stack([features(one) for piece in pieces[i::2] for one in _passages(piece)]) for i in (0, 1)]


def _passages(parts: Parts) -> list[Parts]:
    """Passages end to end; what is left at the end of a piece is left out, unless it is all."""
    frames = max(1, int(Fraction(QUARTERS) / parts.timestep))
    starts = range(0, max(len(parts.voices) - frames, 0) + 1, frames)
    return [parts._replace(voices=parts.voices[start : start + frames]) for start in starts]


def _fit(real: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights and bias of a logistic regression on standardised features, and the standard: mean and deviation."""
    both = np.concatenate([real, samples])
    centre, scale = both.mean(0), both.std(0) + 1e-3
    inputs = np.hstack([(both - centre) / scale, np.ones((len(both), 1))])
    signs = np.repeat([-1.0, 1.0], [len(real), len(samples)])
    weighs = np.repeat([len(both) / 2 / len(real), len(both) / 2 / len(samples)], [len(real), len(samples)])

    def loss(weights):
        margins = signs * (inputs @ weights)
        penalised = np.append(weights[:-1], 0.0)
        value = np.sum(weighs * np.logaddexp(0, -margins)) + PENALTY / 2 * penalised @ penalised
        return value, inputs.T @ (-weighs * signs * special.expit(-margins)) + PENALTY * penalised

    found = optimize.minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B")
    return found.x, centre, scale
