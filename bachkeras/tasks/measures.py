"""What harmonising and inpainting are worth, on the test pieces of a run's corpus and beside Bach's own voices.

Every figure is a ratio of sums over pieces, with a 95% interval: the percentiles of a bootstrap over pieces.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bachkeras import _files as files
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import likelihood, parts, style
from bachkeras.evaluation.comparison import Comparison
from bachkeras.evaluation.judge import objection
from bachkeras.layers.frame.base import FREE
from bachkeras.models.base import FrameModel
from bachkeras.music import voices
from bachkeras.music.score import Score
from bachkeras.music.voices import REST, SATB
from bachkeras.tasks import harmonizing, hearing, inpainting, latent_measures
from bachkeras.training import directory, samples

BARS = 3, 4
"""Those that are written anew."""

SEEDS = 5
"""Estimates of a melody's probability."""

LEAP = 12
"""Semitones; a voice that leaps further is an error of voice leading."""

IDENTITY = ("task", "way", "data", "pieces", "seed")
"""What a row is of."""

Piece = Mapping[str, Any]
Measure = Callable[[Piece, Piece], tuple[float, float]]
"""From a test piece and what was written in its place to numerator and denominator."""


def evaluate(
    run: str | os.PathLike,
    out: Path,
    *,
    data: str | None = None,
    count: int | None = None,
    seed: int = 0,
    judge: str | os.PathLike | None = None,
    manual_dir: Path | None = None,
) -> list[dict[str, Any]]:
    """Harmonise the sopranos of test pieces, write two bars of each anew, and write tasks.json.

    A VAE interpolates between windows of test pieces instead: see `latent_measures`.

    On the benchmark the pieces are the published clean ones. Temperature 1, top_p 1, the same seed for each piece; what
    is written is what a user gets, so the voices keep to their ranges (`settings.allowed`), and a model that knows keys
    is told the piece's. Likelihoods are of the model alone, which is told what one quoted on the corpus is told.

    Args:
        run: a preset's name or a run directory; its model writes labelled voices, or is a VAE.
        out: folder for tasks.json.
        data: the corpus; None: the one that it was trained on.
        count: number of pieces, the first ones, or of interpolations; None: all, `latent_measures.PAIRS`.
        seed: of what is written.
        judge: a preset or a run whose model says how probable it finds all voices together; None: this one.
        manual_dir: see `catalog.build`.

    Returns:
        A row for Bach, and one for each way to write: with particles, and in a single pass from left to right.

    Raises:
        ValueError: if the model cannot, or the corpus has not its voices, or the judge cannot score them.
    """
    files.check_folder(out)
    model = hearing.player(run)
    test = directory.corpus(model.card, "test", data=data, manual_dir=manual_dir)
    latent = hasattr(model, "interpolate")
    if not latent:
        hearing.player(model, completes=True)
    if model.frame.labelled and test.voices != model.frame.voices:
        raise ValueError(f"The corpus has not the voices that the model writes. Received: data={test.name!r}")
    if latent:
        corpora = {"train": directory.corpus(model.card, "train", data=data, manual_dir=manual_dir), "test": test}
        jury = directory.judge(judge) if judge else None
        rows = latent_measures.evaluate(model, Comparison(corpora, model.frame.labelled, jury), pairs=count, seed=seed)
        return _written(out, rows)
    clean = likelihood.clean_pieces(test)
    pieces = [test.pieces[i] for i in (range(len(test)) if clean is None else clean)][:count]
    corpus = dataclasses.replace(test, pieces=pieces)
    jury = directory.load(judge) if judge else model
    if problem := objection(jury, pieces):
        raise ValueError(f"{problem[0].upper()}{problem[1:]}. Received: judge={str(judge)!r}")
    rows = [
        *_harmonising(model, jury, corpus, seed),
        *_inpainting(model, corpus, None, seed),
        *_inpainting(model, corpus, ("alto", "tenor"), seed),
    ]
    return _written(out, rows)


def _written(out: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, which are in tasks.json now."""
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "tasks.json", rows)
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text, a figure a line."""
    lines = []
    for row in rows:
        lines += ["", f"{row['task']}, {row['way']}: {row['pieces']} pieces of {row['data']}, seed {row['seed']}"]
        figures = {name: value for name, value in row.items() if name not in (*IDENTITY, "conditional_by_seed")}
        lines += [f"  {name.replace('_', ' ')}: {_text(value)}" for name, value in figures.items()]
    return "\n".join(lines)


def _harmonising(model: FrameModel, jury: FrameModel, corpus: Corpus, seed: int) -> list[dict[str, Any]]:
    """Rows for Bach's own lower voices, for the particle filter and for a single pass."""
    quoted = likelihood.quoted(corpus)
    log_p = sum(likelihood.log_probs(model, quoted).values())
    rows = [_row("harmonise", "real bach", corpus, corpus.pieces, jury, seed)]
    for particles in (harmonizing.PARTICLES, 1):
        written, seconds, kept = [], [], 0
        for piece in corpus.pieces:
            theirs = _score(piece, corpus)
            start = time.perf_counter()
            (ours,) = harmonizing.harmonize(theirs, model, melody_voice=1, particles=particles, seed=seed)
            seconds.append(time.perf_counter() - start)
            kept += _same(theirs.notes[theirs.notes["part"] == 0], ours.notes[ours.notes["part"] == 0])
            written.append(_piece(piece, ours, corpus))
        row = _row("harmonise", _way(particles), corpus, written, jury, seed)
        row |= {"melody_kept": f"{kept}/{len(written)}"}
        row |= {f"{name.lower()}_accuracy": _ratio(corpus, written, _accuracy(k), seed) for k, name in _lower()}
        row |= {"seconds_per_piece": float(np.mean(seconds[1:] or seconds)), "seconds_first": seconds[0]}
        rows.append(row | _conditional(model, quoted, log_p, particles))
    return rows


def _conditional(model: FrameModel, corpus: Corpus, log_p: np.ndarray, particles: int) -> dict[str, Any]:
    """Nats per frame of Bach's lower voices given his soprano, -(log p(all) - log p(soprano)).

    With particles, p(soprano) is estimated `SEEDS` times. As the logarithm of an estimate is too low on average, so are
    these nats, by about half their variance. In a single pass each lower voice knows the soprano up to its own frame,
    and the nats are exact: -sum_t log p(lower_t | x_{<t}, soprano_t).
    """
    frames = corpus.frames
    if particles == 1:
        batches = corpus.windows(None, shuffle=False).batch(1)
        soprano = sum(float(np.sum(model.voice_log_prob(batch)[..., 0])) for batch in batches)
        frame = float(likelihood.log_probs(model, corpus)["frame"].sum())
        return {"conditional_nats_per_frame": (soprano - frame) / frames}
    estimates = [_melody_log_prob(model, corpus, particles, seed) for seed in range(SEEDS)]
    nats = [float(estimate - log_p.sum()) / frames for estimate in estimates]
    return {
        "conditional_nats_per_frame": float(np.mean(nats)),
        "conditional_spread": float(np.std(nats, ddof=1)),
        "conditional_by_seed": nats,
    }


def _melody_log_prob(model: FrameModel, corpus: Corpus, particles: int, seed: int) -> float:
    """An estimate of the sum of log p(soprano) over the pieces."""
    total = 0.0
    for batch in corpus.windows(None, shuffle=False).batch(1):
        events, onsets, _ = (np.array(x[:, 1:]) for x in model.frame.events(batch))
        events[..., 1:] = FREE
        told = {name: batch[name] for name in ("tonic", "mode", "timestep", "position")}
        music = model.complete(events, given_onsets=onsets, ends=True, conditions=told, particles=particles, seed=seed)
        total += float(music["log_given"][0])
    return total


def _inpainting(model: FrameModel, corpus: Corpus, names: Sequence[str] | None, seed: int) -> list[dict[str, Any]]:
    """Rows for Bach's own bars, for the particle filter and for a single pass; of pieces that go on after them."""
    long = [piece for piece in corpus.pieces if 0 < _edges(piece)[1] < len(piece["voices"])]
    if not long:
        return []
    theirs = Corpus(long, corpus.name, corpus.sounding_shift)
    task = f"bars {BARS[0]}-{BARS[1]}, {'all voices' if names is None else ' and '.join(names)}"
    rows = [_errors(task, "real bach", theirs, theirs.pieces, seed)]
    for particles in (inpainting.PARTICLES, 1):
        written, seconds, kept = [], [], 0
        for piece in theirs.pieces:
            before = _score(piece, corpus)
            start = time.perf_counter()
            (after,) = inpainting.inpaint(before, BARS, model, voices=names, particles=particles, seed=seed)
            seconds.append(time.perf_counter() - start)
            edges = _edges(piece)
            kept += _same(_outside(before, piece, edges), _outside(after, piece, edges))
            written.append(_piece(piece, after, corpus))
        row = _errors(task, _way(particles), theirs, written, seed)
        rows.append(row | {"rest_untouched": f"{kept}/{len(written)}", "seconds_per_piece": float(np.mean(seconds))})
    return rows


def _row(task: str, way: str, corpus: Corpus, written: Sequence[Piece], jury: FrameModel, seed: int) -> dict[str, Any]:
    """What all rows about whole pieces have."""
    judged = -likelihood.log_probs(jury, likelihood.quoted(Corpus(written, corpus.name)))["frame"]
    nats = iter(judged.tolist())
    return dict(zip(IDENTITY, (task, way, corpus.name, len(written), seed), strict=True)) | {
        "judge_nats_per_frame": _ratio(corpus, written, lambda _, ours: (next(nats), len(ours["voices"])), seed),
        "parallels_per_100_beats": _ratio(corpus, written, _parallels, seed),
    }


def _errors(task: str, way: str, corpus: Corpus, written: Sequence[Piece], seed: int) -> dict[str, Any]:
    """What all rows about bars written anew have."""

    def inside(_, ours):
        return _mistakes(ours, *_edges(ours))

    def at_seams(_, ours):
        edges = _edges(ours)
        return sum(_mistakes(ours, edge - 1, edge + 1)[0] for edge in edges), len(edges)

    inner, outer = _ratio(corpus, written, inside, seed), _ratio(corpus, written, at_seams, seed)
    return dict(zip(IDENTITY, (task, way, corpus.name, len(written), seed), strict=True)) | {
        "errors_per_100_beats_inside": [100 * x for x in inner],
        "errors_per_100_seams": [100 * x for x in outer],
    }


def _text(value: Any) -> str:
    """A figure, with its interval where it has one."""
    if isinstance(value, list):
        texts = [f"{x:.4g}" for x in value]
        return f"{texts[0]} ({', '.join(texts[1:])})" if len(texts) == 3 else " ".join(texts)
    return value if isinstance(value, str) else f"{value:.4g}"


def _ratio(corpus: Corpus, written: Sequence[Piece], measure: Measure, seed: int) -> list[float]:
    """A ratio of sums over pieces, and the two ends of its 95% interval."""
    pairs = [measure(theirs, ours) for theirs, ours in zip(corpus.pieces, written, strict=True)]
    above, below = np.array(pairs, float).T

    def ratio(a, b, axis=-1):
        return a.sum(axis) / b.sum(axis)

    if len(pairs) < 2:
        return [float(ratio(above, below))] * 3
    interval = stats.bootstrap(
        (above, below), ratio, paired=True, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return [float(ratio(above, below)), float(interval.low), float(interval.high)]


def _accuracy(voice: int) -> Measure:
    """Frames in which a voice sings what Bach's sings."""
    return lambda theirs, ours: (np.sum(theirs["voices"][:, voice] == ours["voices"][:, voice]), len(theirs["voices"]))


def _parallels(_: Piece, ours: Piece) -> tuple[float, float]:
    """100 x parallel fifths and octaves, and beats."""
    heard = parts.of(ours, labelled=True)
    return 100 * sum(style.parallels(heard)[1:]), heard.beats


def _mistakes(ours: Piece, start: int, stop: int) -> tuple[float, float]:
    """Errors of voice leading between some frames, and their beats.

    Parallel fifths and octaves; crossings and spacings over an octave (soprano to alto, alto to tenor) that begin;
    leaps over `LEAP`.
    """
    columns = ours["voices"][start:stop]
    heard = parts.of({**ours, "voices": columns, "pianoroll": ours["pianoroll"][start:stop]}, labelled=True)
    errors = sum(style.parallels(heard)[1:])
    for u, v in itertools.combinations(range(columns.shape[1]), 2):
        apart = np.where((columns[:, u] != REST) & (columns[:, v] != REST), columns[:, u] - columns[:, v], 0)
        errors += _begins(apart < 0) + (_begins(apart > LEAP) if v == u + 1 and v < 3 else 0)
    sound = (columns[1:] != REST) & (columns[:-1] != REST)
    errors += int((sound & (np.abs(np.diff(columns, axis=0)) > LEAP)).sum())
    return errors, heard.beats


def _begins(there: np.ndarray) -> int:
    return int((there[1:] & ~there[:-1]).sum())


def _score(piece: Piece, corpus: Corpus) -> Score:
    return samples.score(piece, True, corpus.sounding_shift)


def _piece(like: Piece, score: Score, corpus: Corpus) -> Piece:
    """A score on the grid of a piece, in its place."""
    columns, onsets = voices.from_score(score.transpose(-corpus.sounding_shift), parts.timestep(like))
    columns = columns[: len(like["voices"])]
    silence = np.full((len(like["voices"]) - len(columns), columns.shape[1]), REST, columns.dtype)
    columns = np.concatenate([columns, silence])
    written = {**like, "voices": columns, "pianoroll": voices.to_frames(columns)}
    if "voice_onsets" in like:
        written["voice_onsets"] = np.concatenate([onsets[: len(columns)], silence != REST])
    return written


def _outside(score: Score, piece: Piece, edges: tuple[int, int]) -> np.ndarray:
    """The notes that do not lie inside some frames."""
    step = int(parts.timestep(piece) * score.ticks_per_quarter)
    notes = score.notes
    return notes[(notes["start"] < edges[0] * step) | (notes["end"] > edges[1] * step)]


def _same(notes: np.ndarray, others: np.ndarray) -> bool:
    fields = ["start", "end", "pitch"]
    return np.array_equal(notes[fields], others[fields])


def _edges(piece: Piece) -> tuple[int, int]:
    """The frames with which `BARS` begin and end; (0, 0) where nobody knows the bars."""
    bar, first = int(piece["frames_per_bar"]), int(piece["position"][0])
    if not bar:
        return 0, 0
    upbeat = bar - first if first > 0 else 0
    return upbeat + (BARS[0] - 1) * bar, upbeat + BARS[1] * bar


def _lower() -> list[tuple[int, str]]:
    return [*enumerate(SATB)][1:]


def _way(particles: int) -> str:
    return "left to right" if particles == 1 else f"{particles} particles"
