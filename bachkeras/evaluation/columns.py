"""The figures of evaluation.json as a reader meets them: title, unit, digits, meaning, and which direction is good."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

LOWER, HIGHER, NEAR, PLAIN = "lower is better", "higher is better", "near real Bach", ""
"""Which direction is good; `PLAIN`: none, a fact."""

DASH = "-"
"""What is shown of a figure that is not there."""


class Column(NamedTuple):
    """One figure.

    Attributes:
        key: its name in a row.
        title: a few words for the head of a column.
        unit: '' where it has none.
        digits: after the point; None: a name or a setting, shown as it is.
        good: `LOWER`, `HIGHER`, `NEAR` or `PLAIN`.
        meaning: one sentence or two.
    """

    key: str
    title: str
    unit: str
    digits: int | None
    good: str
    meaning: str

    def show(self, value: Any) -> str:
        """A figure as text, `DASH` where it is missing or not a number; of several, one after the other."""
        if isinstance(value, (list, tuple)):
            parts = [self.show(one) for one in value]
            return " ".join(parts) if set(parts) - {DASH} else DASH
        if value is None or value == "" or (isinstance(value, numbers.Real) and math.isnan(value)):
            return DASH
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        if self.digits is None:
            return str(value) if isinstance(value, numbers.Integral) else f"{value:g}"
        return f"{value:z,.{self.digits}f}"


SETTINGS = (
    Column(
        "protocol",
        "Protocol",
        "",
        None,
        PLAIN,
        "What the likelihood is of. Likelihoods of two protocols do not compare.",
    ),
    Column("frames", "Test frames", "", 0, PLAIN, "Frames of the test split, all scored, the first ones included."),
    Column("samples", "Samples", "", 0, PLAIN, "Number of samples that the figures of samples are from."),
    Column("sample_frames", "Sample frames", "", 0, PLAIN, "Of all samples together. Distinct n-grams depend on it."),
    Column("temperature", "Temperature", "", None, PLAIN, "1 draws from the model's own distribution."),
    Column("top_p", "Top-p", "", None, PLAIN, "1 keeps every note possible, however improbable."),
    Column("seed", "Seed", "", None, PLAIN, "Of the random numbers."),
    Column("judge", "Judged by", "", None, PLAIN, "The run whose model is the judge."),
)
"""Told once above a table where all of its rows agree, else columns."""

SECTIONS = {
    "Model": (
        Column("parameters", "Parameters", "", 0, PLAIN, "Numbers that training adjusts."),
        Column("train_minutes", "Training", "min", 1, PLAIN, "Minutes of this run's training."),
        Column(
            "contaminated",
            "Contaminated",
            "",
            None,
            PLAIN,
            "Yes: the weights have seen pieces that may share tunes with the test split. No figure there counts.",
        ),
    ),
    "Likelihood of the test split": (
        Column(
            "likelihood",
            "Kind",
            "",
            None,
            PLAIN,
            "Exact, or a bound: then the model's own value is at most the one shown.",
        ),
        Column(
            "test_nats_per_frame",
            "NLL",
            "nats/frame",
            3,
            LOWER,
            "Negative log-likelihood of each frame of the test split given those before it, natural logarithm, mean "
            "over all frames. It compares within one protocol alone.",
        ),
        Column(
            "clean_nats_per_frame",
            "NLL, clean",
            "nats/frame",
            3,
            LOWER,
            "The same over those test pieces that were published as sharing no tune with the training split.",
        ),
        Column(
            "test_nats_per_note",
            "NLL a note",
            "nats/note",
            4,
            LOWER,
            "That of a frame over its number of labelled voices: of a note, or a rest, of one voice.",
        ),
        Column(
            "clean_nats_per_note", "NLL a note, clean", "nats/note", 4, LOWER, "The same over the clean test pieces."
        ),
        Column(
            "test_ending_nats_per_piece",
            "Ending",
            "nats/piece",
            2,
            LOWER,
            "Negative log-likelihood of where a test piece ends, on top of that of its frames.",
        ),
        Column(
            "importance_weighted_nats_per_frame",
            "Bound, 64 draws",
            "nats/frame",
            3,
            LOWER,
            "Importance-weighted upper bound of the negative log-likelihood of sequences scored alone, without the "
            "music before them. The bound of whole pieces, left of it, is from one draw a sequence, and less tight.",
        ),
    ),
    "Style of the samples": (
        Column(
            "parallels_per_100_beats",
            "Parallels",
            "per 100 beats",
            2,
            NEAR,
            "Parallel fifths and octaves (unisons count) between two voices that both move. Bach is not free of them, "
            "so the goal is his value, not zero.",
        ),
        Column(
            "hold_ratio",
            "Hold ratio",
            "",
            3,
            NEAR,
            "One minus notes over voices times frames, where a repeated note counts as one: how often a voice stays. "
            "It depends on the grid. Far above Bach's the music stands still, far below it is restless.",
        ),
        Column(
            "js_chord_type",
            "Chord types",
            "JSD, nats",
            4,
            NEAR,
            "Jensen-Shannon divergence from the training split of the chord types on the beats, the pitch classes "
            "above the bass. Real Bach's own value is the noise floor: at or below it, samples cannot be told from "
            "Bach here.",
        ),
        Column(
            "js_duration",
            "Durations",
            "JSD, nats",
            4,
            NEAR,
            "The same divergence of the durations of notes, with the same noise floor.",
        ),
        Column(
            "js_soprano_interval",
            "Soprano steps",
            "JSD, nats",
            4,
            NEAR,
            "The same divergence of the signed melodic intervals of the highest voice, with the same noise floor.",
        ),
        Column(
            "bach_or_mock",
            "Bach or Mock",
            "",
            2,
            NEAR,
            "The grading function of Fang, Liu, Seetharaman and Pardo (2020): Wasserstein distances of nine features "
            "of a piece from the training split's, summed up; the median over the samples. Real Bach is not at zero.",
        ),
        Column(
            "c2st_accuracy",
            "Told from Bach",
            "",
            2,
            NEAR,
            "Share of passages of sixteen quarters that a small classifier, which has learned from half of the samples "
            "and of as many training pieces, puts right among the others. Unseen Bach: about .5.",
        ),
        Column(
            "judge_nats_per_frame",
            "Judge",
            "nats/frame",
            3,
            NEAR,
            "Exact negative log-likelihood of the samples under one given model, the judge. It should be near real "
            "Bach's own: far above is noise, far below is too plain or repetitive.",
        ),
    ),
    "Endings": (
        Column(
            "end_on_tonic",
            "End on tonic",
            "",
            2,
            NEAR,
            "Share of pieces with the tonic that was told as the lowest note of their last chord, of those that the "
            "model ended itself.",
        ),
        Column("mean_frames_to_end", "Length", "frames", 0, NEAR, "Mean length of those pieces."),
        Column(
            "cut_share",
            "Cut",
            "",
            2,
            LOWER,
            "Share of pieces not ended at four times the mean length.",
        ),
    ),
    "Variety and copies": (
        Column(
            "ngram_jsd",
            "n-grams, n = 1 ... 4",
            "JSD, nats",
            3,
            NEAR,
            "Jensen-Shannon divergence from the training split of 1, 2, 3 and 4 successive chord types. It rewards "
            "copying, which is why the samplers of chords stand in the table.",
        ),
        Column(
            "self_bleu_4_soprano",
            "Self-BLEU-4",
            "",
            3,
            NEAR,
            "How much of a sample's soprano intervals, up to four in a row, is in the other samples too. Well above "
            "Bach's the samples have collapsed into one another, well below they are noise.",
        ),
        Column(
            "distinct_3",
            "Distinct-3",
            "",
            3,
            NEAR,
            "Share of distinct ones among all three successive chord types of the samples. Below Bach's is repetition, "
            "above is noise; it falls with the length and the number of samples.",
        ),
        Column("distinct_4", "Distinct-4", "", 3, NEAR, "The same of four successive chord types."),
        Column(
            "longest_copy_beats_median",
            "Copy, median",
            "beats",
            1,
            NEAR,
            "Longest run of beats that a sample shares with a training piece, all voices, in any key; the median over "
            "the samples. Unseen Bach shares some as well.",
        ),
        Column(
            "longest_copy_beats_p95",
            "Copy, 95%",
            "beats",
            1,
            NEAR,
            "The same, below which 95% of the samples are. A sample above Bach's 95% copies.",
        ),
    ),
    "Latent space": (
        Column("latent_size", "Latent size", "", 0, PLAIN, "Number of latent dimensions."),
        Column(
            "active_units",
            "Active units",
            "",
            0,
            HIGHER,
            "Latent dimensions whose posterior mean varies over held-out music (variance of at least 0.01). None "
            "active is collapse: the model does not use its latent space.",
        ),
        Column(
            "kl_nats",
            "KL",
            "nats/sequence",
            2,
            PLAIN,
            "Divergence of the posterior from the prior, at weight 1; a sequence is a window that has a latent of its "
            "own. Zero is collapse; what it costs is in the bound.",
        ),
        Column(
            "mutual_information_nats",
            "Mutual information",
            "nats",
            2,
            HIGHER,
            "What a latent vector tells of its sequence. It cannot exceed log N for the N sequences that it was "
            "measured on. Zero is collapse.",
        ),
        Column("latent_examples", "N", "sequences", 0, PLAIN, "Held-out sequences that this is measured on."),
        Column(
            "shuffle_gap_nats",
            "Shuffle gap",
            "nats/frame",
            3,
            HIGHER,
            "How much worse held-out music is reconstructed from another sequence's latent vector or codes. Zero is "
            "collapse.",
        ),
        Column("shuffle_gap_interval", "Gap, 95%", "nats/frame", 3, PLAIN, "Its interval, by the bootstrap."),
        Column(
            "rate_nats_per_frame",
            "Rate",
            "nats/frame",
            3,
            LOWER,
            "What the latents cost a frame: the KL, or the codes under their prior. With the reconstruction it adds up "
            "to the bound of such sequences, which is not that of whole pieces.",
        ),
    ),
    "Codes": (
        Column(
            "codebook_perplexity",
            "Code perplexity",
            "codes",
            1,
            HIGHER,
            "Exponential of the entropy of the codes of held-out music, its groups counted from every frame: as many "
            "codes would be in use if all were used equally. Of several codebooks the least.",
        ),
        Column(
            "codes_used",
            "Codes used",
            "",
            2,
            HIGHER,
            "Share of the codebook that held-out music uses, its groups counted from every frame; the least.",
        ),
        Column(
            "prior_nats_per_code",
            "Code prior",
            "nats/code",
            3,
            LOWER,
            "Negative log-likelihood of a code under the prior.",
        ),
        Column(
            "code_unigram_nats_per_code",
            "Code unigram",
            "nats/code",
            3,
            PLAIN,
            "What the prior must beat: each code by how often it comes in training music.",
        ),
        Column(
            "code_bigram_nats_per_code",
            "Code bigram",
            "nats/code",
            3,
            PLAIN,
            "What the prior must beat: each code by how often it comes there after the one before.",
        ),
    ),
    "Reconstruction": (
        Column(
            "reconstruction_nats_per_frame",
            "Reconstruction",
            "nats/frame",
            3,
            LOWER,
            "Negative log-likelihood of held-out music given its own latents. No likelihood of a model: the latents "
            "have seen the music.",
        ),
        Column(
            "reconstruction_f1",
            "Notes' F1",
            "",
            3,
            HIGHER,
            "Harmonic mean of precision and recall over the keys of all frames of held-out music, decoded greedily "
            "from its own latents.",
        ),
    ),
}
"""The figures by subject, in the order of a table."""
