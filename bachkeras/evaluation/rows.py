"""Rows of evaluation.json: every figure has its key, and where there is none the row says why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

BACH = "real bach"
"""The row that the others are compared with."""

SAMPLERS = {3: "chord trigram", 2: "chord bigram sampler", 1: "chord unigram sampler"}
"""Rows that no network made, by the order of their n-grams."""

IDENTITY = (
    "model",
    "data",
    "protocol",
    "grid",
    "voices",
    "samples",
    "sample_frames",
    "temperature",
    "top_p",
    "seed",
    "frames",
    "contaminated",
)
"""What a row is of."""

TRAINED = ("parameters", "train_minutes")

LIKELIHOOD = (
    "likelihood",
    "test_nats_per_frame",
    "clean_nats_per_frame",
    "test_nats_per_note",
    "clean_nats_per_note",
    "test_ending_nats_per_piece",
    "importance_weighted_nats_per_frame",
)

SAMPLES = (
    "parallels_per_100_beats",
    "hold_ratio",
    "js_chord_type",
    "js_duration",
    "js_soprano_interval",
    "ngram_jsd",
    "self_bleu_4_soprano",
    "distinct_3",
    "distinct_4",
    "longest_copy_beats_median",
    "longest_copy_beats_p95",
    "bach_or_mock",
    "c2st_accuracy",
    "style",
    "distances",
    "floors",
)

JUDGE = ("judge", "judge_nats_per_frame")

ENDINGS = ("end_on_tonic", "mean_frames_to_end", "cut_share")

LATENT = (
    "active_units",
    "latent_size",
    "kl_nats",
    "mutual_information_nats",
    "latent_examples",
)

CODES = (
    "codebook_perplexity",
    "codes_used",
    "prior_nats_per_code",
    "code_unigram_nats_per_code",
    "code_bigram_nats_per_code",
)

LATENT_OR_CODES = (
    "shuffle_gap_nats",
    "shuffle_gap_interval",
    "rate_nats_per_frame",
    "reconstruction_nats_per_frame",
    "reconstruction_f1",
)

KEYS = (
    *IDENTITY,
    "notes",
    *TRAINED,
    *LIKELIHOOD,
    *SAMPLES,
    *JUDGE,
    *LATENT,
    *CODES,
    *LATENT_OR_CODES,
    *ENDINGS,
)
"""Of a row, in their order."""


class Row:
    """A row that is being filled.

    Args:
        known: figures by their keys.
    """

    def __init__(self, **known: Any):
        self.figures: dict[str, Any] = {}
        self.reasons: dict[str, list[str]] = {}
        self.add(known, "not known")

    def add(self, figures: Mapping[str, Any], missing: str) -> None:
        """Take in figures; for those that are None or not finite, `missing` says why.

        Raises:
            KeyError: if a row has no such key.
        """
        for key, value in figures.items():
            if key not in KEYS:
                raise KeyError(f"A row of evaluation.json has no such key. Received: {key!r}")
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                self.leave_out([key], missing)
            else:
                self.figures[key] = value

    def leave_out(self, keys: Iterable[str], reason: str) -> None:
        """There are no such figures, and why."""
        self.reasons.setdefault(reason, []).extend(keys)

    def remark(self, keys: Iterable[str], text: str) -> None:
        """Say something of figures that are there."""
        self.leave_out(keys, text)

    def to_dict(self) -> dict[str, Any]:
        """The row with all `KEYS`; `notes` is "KEY, KEY: reason; KEY: reason", remarks too."""
        notes = "; ".join(f"{', '.join(keys)}: {reason.replace(';', ',')}" for reason, keys in self.reasons.items())
        return {key: notes if key == "notes" else self.figures.get(key) for key in KEYS}
