"""Samples beside Bach: the rows of real Bach and of the samplers, and the sample figures of every row."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import classifier, endings, likelihood, novelty, parts, rows, style
from bachkeras.evaluation.bach_or_mock import Grader
from bachkeras.evaluation.judge import Judge, nats_per_frame
from bachkeras.evaluation.ngrams import FrameCounts
from bachkeras.evaluation.rows import Row
from bachkeras.music.voices import to_frames


class Comparison:
    """What the samples of a row are compared with: a corpus, with the voices by their labels or by rank.

    Args:
        corpora: by split.
        labelled: whether a piece is its `voices`; else its `pianoroll`, by rank.
        judge: for `judge_nats_per_frame`.
    """

    def __init__(self, corpora: Mapping[str, Corpus], labelled: bool, judge: Judge | None = None):
        self.corpora = corpora
        self.labelled = labelled
        self.judge = judge
        self.train = self.parts(corpora["train"].pieces)
        self.grader = Grader(self.train)

    @property
    def test(self) -> Corpus:
        """The pieces that samples stand beside."""
        return self.corpora["test"]

    def parts(self, pieces: Sequence[Mapping[str, Any]]) -> list[parts.Parts]:
        """Pieces as they are compared."""
        return [parts.of(piece, self.labelled) for piece in pieces]

    def beside(self, count: int | None) -> list[Mapping[str, Any]]:
        """The test pieces that `count` samples stand beside, in turn; None: one sample for each test piece."""
        return [self.test.pieces[i % len(self.test)] for i in range(count or len(self.test))]

    def row(self, model: str, **known: Any) -> Row:
        """A new row on this comparison."""
        return Row(
            model=model,
            data=self.test.name or "arrays",
            grid=grid(self.test),
            voices="labelled" if self.labelled else "by rank",
            frames=self.test.frames,
            **known,
        )

    def references(self, count: int | None, seed: int) -> list[dict[str, Any]]:
        """Rows of real Bach and of the samplers."""
        return [self._real(count), *(self._sampler(order, count, seed) for order in rows.SAMPLERS)]

    def _real(self, count: int | None) -> dict[str, Any]:
        pieces = self.beside(count)[: len(self.test)]
        row = self.row(rows.BACH, contaminated=False)
        self.add_samples(row, pieces)
        row.add({"floors": style.floors(self.train, len(pieces))}, "not known")
        row.leave_out(("protocol", *rows.LIKELIHOOD), "these are the test pieces themselves")
        row.leave_out(("temperature", "top_p", "seed", *rows.TRAINED), "nobody trained or drew them")
        row.add(endings.figures(pieces), "the tonic of no piece is known")
        row.leave_out(["cut_share"], "nothing is cut")
        _no_latents(row, "no model")
        return row.to_dict()

    def _sampler(self, order: int, count: int | None, seed: int) -> dict[str, Any]:
        trigram = order == 3
        known = {"protocol": likelihood.protocol(self.test), "likelihood": "exact"} if trigram else {}
        row = self.row(rows.SAMPLERS[order], contaminated=False, temperature=1.0, top_p=1.0, seed=seed, **known)
        if trigram:
            add_nats(row, likelihood.chord_trigram(self.corpora["train"], self.test), self.test)
            row.leave_out(["test_ending_nats_per_piece"], "it ends no piece")
            row.leave_out(["importance_weighted_nats_per_frame"], "it has no latent vector")
            row.remark(["test_nats_per_frame"], "of the smoothed trigram over sets, the samples are not smoothed")
        else:
            row.leave_out(("protocol", *rows.LIKELIHOOD), "counts that are not smoothed")
        self.add_samples(row, self._drawn(order, count, seed))
        row.leave_out(("floors", *rows.TRAINED, *rows.ENDINGS), "no network")
        _no_latents(row, "no network")
        return row.to_dict()

    @functools.cached_property
    def _counts(self) -> FrameCounts:
        name = "voices" if self.labelled else "pianoroll"
        return FrameCounts([np.asarray(piece[name]) for piece in self.corpora["train"].pieces])

    def _drawn(self, order: int, count: int | None, seed: int) -> list[dict[str, Any]]:
        """A sampler's pieces, as a corpus has them; what is known of each is what is known of a test piece."""
        like = self.beside(count)
        drawn = self._counts.sample([len(piece["pianoroll"]) for piece in like], order, seed)
        known = {"timestep", "tonic", "mode", "position"}
        return [
            ({"pianoroll": to_frames(frames), "voices": frames} if self.labelled else {"pianoroll": frames})
            | {name: piece[name] for name in known & piece.keys()}
            for frames, piece in zip(drawn, like, strict=True)
        ]

    def add_samples(self, row: Row, pieces: Sequence[Mapping[str, Any]]) -> None:
        """Put the figures of some pieces into their row."""
        heard = self.parts(pieces)
        row.add({"samples": len(pieces), "sample_frames": sum(len(p.voices) for p in heard)}, "no samples")
        found = style.voice_leading(heard) | style.lines(heard)
        headline = ("parallels_per_100_beats", "hold_ratio")
        row.add({name: found[name] for name in headline}, "the samples have no frames")
        distances = style.distances(heard, self.train)
        named = {f"js_{name}": distances[name] for name in ("chord_type", "duration", "soprano_interval")}
        row.add(named, "the samples have nothing to compare: no beat with chords, no notes or no intervals")
        row.add({"style": found, "distances": distances}, "no samples")
        row.add({"ngram_jsd": style.ngram_jsd(heard, self.train)}, "no sample has four beats with chords on end")
        row.add(
            {"self_bleu_4_soprano": novelty.soprano_self_bleu(heard)},
            "there are not two samples whose soprano has four intervals",
        )
        for n in (3, 4):
            row.add({f"distinct_{n}": novelty.distinct(heard, n)}, f"no sample has {n} beats with chords on end")
        copies = novelty.longest_copies(heard, self.train)
        row.add(
            {
                "longest_copy_beats_median": float(np.median(copies)) if len(copies) else None,
                "longest_copy_beats_p95": float(np.percentile(copies, 95)) if len(copies) else None,
            },
            "no samples",
        )
        row.add({"bach_or_mock": self.grader.median(heard)}, "no sample has a note")
        row.add({"c2st_accuracy": classifier.accuracy(heard, self.train)}, "there are not two samples")
        self._add_judgement(row, pieces)

    def _add_judgement(self, row: Row, pieces: Sequence[Mapping[str, Any]]) -> None:
        objection = self.judge.objection(pieces, self.test) if self.judge else "no judge was named"
        if objection:
            row.leave_out(rows.JUDGE, objection)
            return
        nats = nats_per_frame(self.judge.model, pieces, self.test.name)
        row.add({"judge": self.judge.name, "judge_nats_per_frame": nats}, "the judge finds them impossible")


def add_nats(row: Row, log_p: np.ndarray, test: Corpus, voices: int | None = None) -> None:
    """Put likelihoods into a row: of a frame, and of a note where `voices` labelled ones share a frame.

    Args:
        row: the row.
        log_p: log probabilities of the pieces of `test`, `(pieces,)`.
        test: the pieces.
        voices: number of labelled voices; None: sets of notes are scored.
    """
    clean = likelihood.clean_pieces(test)
    if voices is None:
        row.leave_out(("test_nats_per_note", "clean_nats_per_note"), "sets of notes are scored, not voices")
    for name, pieces in (("test", None), ("clean", clean)):
        keys = [f"{name}_nats_per_{unit}" for unit in (("frame", "note") if voices else ("frame",))]
        if name == "clean" and clean is None:
            row.leave_out(keys, "only the benchmark's test pieces are known to be clean or not")
            continue
        nats = likelihood.nats_per_frame(log_p, test, pieces)
        row.add(dict(zip(keys, (nats, nats / (voices or 1)), strict=False)), "the model's probabilities are not finite")


def grid(corpus: Corpus) -> str:
    """The timestep of a corpus in quarter lengths, "1", "1/4", or "per piece" where its pieces differ."""
    steps = {parts.timestep(piece) for piece in corpus.pieces}
    return str(steps.pop()) if len(steps) == 1 else "per piece"


def _no_latents(row: Row, reason: str) -> None:
    row.leave_out((*rows.LATENT, *rows.CODES, *rows.LATENT_OR_CODES), reason)
