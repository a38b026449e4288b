"""A model as a judge of samples: how probable it finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import likelihood, parts

if TYPE_CHECKING:
    from bachkeras.models.base import FrameModel


class Judge(NamedTuple):
    """A model that says how probable samples are.

    Attributes:
        name: its run's.
        model: a `FrameModel`.
        card: its run's config.json, see `directory.card`.
    """

    name: str
    model: FrameModel
    card: Mapping[str, Any]

    def objection(self, pieces: Sequence[Mapping[str, Any]], test: Corpus) -> str | None:
        """Why it cannot judge pieces that stand beside a test split, or None.

        It must not know the test pieces either: it says how probable real Bach is.
        """
        unfair = likelihood.objection(self.card, test)
        if unfair:
            return f"of the judge, {unfair}"
        known = {Fraction(s["numerator"], s["denominator"]) for s, _ in self.card["settings"]}
        if any(parts.timestep(piece) not in known for piece in pieces):
            return "the judge was trained on another grid"
        return objection(self.model, pieces)


def objection(judge: FrameModel, pieces: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a model cannot score some pieces exactly, or None."""
    if judge.likelihood != "exact":
        return "the judge's own likelihood is not exact"
    needed = ["voices" if judge.frame.labelled else "pianoroll"]
    if judge.frame.onsets:
        needed.append("voice_onsets" if judge.frame.labelled else "onsets")
    missing = [name for name in needed if not all(name in piece for piece in pieces)]
    if missing:
        return f"the judge reads {' and '.join(missing)}, which these pieces have not"
    if likelihood.dropped_notes(judge, pieces):
        return "notes of these pieces do not fit the judge's voices"
    return None


def nats_per_frame(judge: FrameModel, pieces: Sequence[Mapping[str, Any]], corpus: str) -> float:
    """The exact `-log p` of pieces under a model, in nats, a micro average over their frames.

    The judge is told what a likelihood quoted on the corpus is told (`likelihood.quoted`).

    Args:
        judge: a model to which there is no `objection`.
        pieces: see `Corpus`.
        corpus: name of the corpus that the pieces are like.
    """
    like = likelihood.quoted(Corpus(pieces, corpus))
    return likelihood.nats_per_frame(likelihood.log_probs(judge, like)["frame"], like)
