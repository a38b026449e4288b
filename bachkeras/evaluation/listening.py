"""What the samples of an epoch are like, beside held-out Bach: for models that have no likelihood to choose by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import novelty, parts, style
from bachkeras.evaluation.judge import Judge, nats_per_frame, objection
from bachkeras.evaluation.ngrams import ChordTrigram

SAME = 0.98
"""Samples with a self-BLEU-4 of this are all alike."""

POOR = 0.2
"""So are those whose distinct-3 is this share of Bach's, or less."""


class Listener:
    """Compares samples with a validation split; both are compared with the training split.

    Args:
        train: training pieces.
        validation: held-out pieces.
        labelled: whether a piece is its `voices`; else its `pianoroll`, by rank.
        judge: a model that knows real music better than the chord trigram does, or None.

    Attributes:
        real: `describe` of the validation pieces.
    """

    def __init__(self, train: Corpus, validation: Corpus, labelled: bool, judge: Judge | None = None):
        self.labelled = labelled
        self.judge = judge
        self.corpus = validation.name
        self.train = [parts.of(piece, labelled) for piece in train.pieces]
        self.trigram = ChordTrigram([piece["pianoroll"] for piece in train.pieces])
        self.real = self.describe(validation.pieces)

    def describe(self, pieces: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Figures of some pieces, see `style` and `novelty`; nan where there is none.

        `ngram_jsd_1` to `ngram_jsd_4`, chords against the training split; `self_bleu_4_soprano`, `distinct_3`,
        `hold_ratio`; `trigram_nats_per_frame`, minus the log probability under the chord trigram of the training split;
        with a judge `judge_nats_per_frame`, under its model, nan where it cannot read the pieces.
        """
        heard = [parts.of(piece, self.labelled) for piece in pieces]
        distances = style.ngram_jsd(heard, self.train) or [None] * len(style.NGRAMS)
        log_p = sum(float(self.trigram.log_prob(piece["pianoroll"]).sum()) for piece in pieces)
        found = {f"ngram_jsd_{n}": jsd for n, jsd in zip(style.NGRAMS, distances, strict=True)}
        found |= {
            "self_bleu_4_soprano": novelty.soprano_self_bleu(heard),
            "distinct_3": novelty.distinct(heard, 3),
            "hold_ratio": style.lines(heard)["hold_ratio"],
            "trigram_nats_per_frame": -log_p / sum(len(piece["pianoroll"]) for piece in pieces),
        }
        if self.judge:
            model = self.judge.model
            readable = objection(model, pieces) is None
            found["judge_nats_per_frame"] = nats_per_frame(model, pieces, self.corpus) if readable else None
        return {name: float("nan") if value is None else value for name, value in found.items()}

    def distance(self, found: Mapping[str, float]) -> float:
        """How far samples are from the validation pieces, 1 at the best: what chooses an epoch.

        The chord bigrams' divergence from the training split, in units of the validation pieces' own, plus the
        difference of the nats per frame under the judge, or without one under the chord trigram. The one is good for
        chords drawn from Bach in any order, the other is not; the other is good for samples that say the probable
        alone, the one is not.

        Args:
            found: `describe` of the samples.
        """
        ratio = found["ngram_jsd_2"] / self.real["ngram_jsd_2"]
        nats = "judge_nats_per_frame" if self.judge else "trigram_nats_per_frame"
        return ratio + abs(found[nats] - self.real[nats])

    def collapsed(self, found: Mapping[str, float]) -> bool:
        """Whether samples are all alike, or have next to no chords; `found` is `describe` of them."""
        bleu = found["self_bleu_4_soprano"]  # There is none where no soprano moves.
        return not bleu < SAME or found["distinct_3"] <= POOR * self.real["distinct_3"]
