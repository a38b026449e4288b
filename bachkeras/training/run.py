"""A training run and its directory: from a configuration to a model, its figures and its first music."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bachkeras import models
from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import likelihood
from bachkeras.training import samples
from bachkeras.training.callbacks import MONITOR, History, SaveBest
from bachkeras.training.config import Config, Training

FORMAT = 1
"""Number of the run directory's format: what has another one is refused, not guessed at."""

MODELS = {"lstm-attention": models.LSTMAttention}
"""The models by their names on the command line."""

FRAMES = {"ChainedVoices": models.ChainedVoices, "IndependentNotes": models.IndependentNotes}
"""The frame distributions by their `class` in a configuration."""

PACKAGES = ("bachkeras", "tensorflow", "keras", "tensorflow-datasets", "numpy")


def train(model_name: str, config: Config, out: Path, *, seed: int = 0, manual_dir: Path | None = None) -> None:
    """Train a model, score it on the test split and let it write four pieces.

    Fills `out`: config.json, model.keras (best by validation), history.csv, logs/ (TensorBoard), evaluation.json,
    samples/.

    Args:
        model_name: one of `MODELS`.
        config: what to train, on what, how.
        out: the run directory; it must not exist.
        seed: of the weights, the order of the data, dropout and the samples.
        manual_dir: see `catalog.build`.

    Raises:
        ValueError: if `out` exists, or the configuration names no such corpus or argument.
    """
    if out.exists():
        found = "a run" if (out / "evaluation.json").exists() else "something, perhaps an unfinished run,"
        raise ValueError(f"There is {found} already: choose another directory. Received: out={str(out)!r}")
    keras.utils.set_random_seed(seed)
    corpora = {split: catalog.load(config.data.name, split, manual_dir=manual_dir) for split in catalog.SPLITS}
    with _dtype_policy(config.training.precision):
        model = make_model(model_name, config, corpora.values())
    with _directory(out):
        dropped = dropped_notes(model, corpora["train"])
        if dropped:
            print(f"{dropped} notes of the training split do not fit {model.frame.voices} voices and are left out.")
        content = _card(model_name, config, corpora["train"], seed)
        write_json(out / "config.json", content)
        began = time.monotonic()
        best = fit(model, config, corpora, out, seed)
        minutes = (time.monotonic() - began) / 60
        model = keras.saving.load_model(out / "model.keras")
        print(f"Best epoch {best + 1}; {minutes:.1f} minutes.")
        rows = evaluate(model, out.name, corpora, minutes, seed)
        write_json(out / "evaluation.json", rows)
        print_rows(rows)
        paths = samples.write(model, content, out / "samples", count=4, length=None if model.ending else 64, seed=seed)
        print(f"New music: {', '.join(str(path) for path in paths)}")


def make_model(name: str, config: Config, corpora: Collection[Corpus]) -> keras.Model:
    """The model of a configuration, with as many voices as the data have."""
    arguments = dict(config.frame)
    kind = arguments.pop("class", "ChainedVoices")
    if kind not in FRAMES:
        raise ValueError(f"The frame distributions are {', '.join(FRAMES)}. Received: class={kind!r}")
    if kind == "ChainedVoices":
        labelled = arguments.get("labelled", False)
        voices = min(corpus.voices for corpus in corpora) if labelled else max(corpus.polyphony for corpus in corpora)
        if not voices:
            raise ValueError(f"The corpus has no labelled voices. Received: labelled={labelled}")
        arguments.setdefault("voices", voices)
    try:
        model = MODELS[name](**config.model, frame=FRAMES[kind](**arguments))
        model.build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"The configuration does not fit {name}: {error}") from error
    return model


def fit(model: keras.Model, config: Config, corpora: dict[str, Corpus], out: Path, seed: int) -> int:
    """Fit a model; the best one by validation is saved in `out`. Returns its epoch, from 0."""
    data, training = config.data, config.training
    batches = (
        corpora["train"]
        .windows(data.window or None, transpose=data.transpose, untransposed=data.untransposed, seed=seed)
        .batch(data.batch_size)
    )
    validation = likelihood.quoted(corpora["validation"]).windows(None, shuffle=False).batch(32)
    model.compile(_optimizer(training, steps=int(batches.cardinality()) * training.epochs))
    best = SaveBest(out / "model.keras")
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        best,
        History(out / "history.csv"),
        keras.callbacks.TensorBoard(out / "logs", write_graph=False),
    ]
    if training.patience:
        callbacks.append(keras.callbacks.EarlyStopping(MONITOR, mode="min", patience=training.patience))
    verbose = "auto" if sys.stdout.isatty() else 2
    # Keras warns of shuffling a dataset that it does not shuffle; ours comes shuffled.
    model.fit(
        batches, validation_data=validation, epochs=training.epochs, callbacks=callbacks, verbose=verbose, shuffle=False
    )
    if best.best_epoch < 0:
        raise RuntimeError("Training diverged in its first epoch: lower [training] learning_rate.")
    return best.best_epoch


def evaluate(model: keras.Model, name: str, corpora: dict[str, Corpus], minutes: float, seed: int) -> list[dict]:
    """Rows of evaluation.json: the model and the chord trigram on the test split."""
    test = likelihood.quoted(corpora["test"])
    trigram = likelihood.ChordTrigram([piece["pianoroll"] for piece in corpora["train"].pieces])
    floor = np.array([trigram.log_prob(piece["pianoroll"]).sum() for piece in test.pieces])
    row = {
        "model": name,
        **_scored(test, model.frame),
        "seed": seed,
        "parameters": model.count_params(),
        "train_minutes": round(minutes, 1),
    }
    dropped = dropped_notes(model, test)
    if dropped:
        row |= {"likelihood": None, "notes": f"{dropped} notes of the test split do not fit the model's voices"}
    else:
        log_p = likelihood.log_probs(model, test)
        row |= {"likelihood": model.likelihood, **_likelihoods(log_p["frame"], test)}
        if model.frame.labelled:
            row["test_nats_per_note"] = row["test_nats_per_frame"] / model.frame.voices
        if "ending" in log_p:
            row["test_ending_nats"] = float(-log_p["ending"].mean())
    return [row, {"model": "chord trigram", **_scored(test), "likelihood": "exact", **_likelihoods(floor, test)}]


def _scored(test: Corpus, frame: models.FrameDistribution | None = None) -> dict[str, Any]:
    """What a row of evaluation.json is about."""
    return {"data": test.name, "protocol": likelihood.protocol(test, frame), "frames": test.frames}


def dropped_notes(model: keras.Model, corpus: Corpus) -> int:
    """Notes of a corpus that do not fit the model's voices."""
    return sum(int(np.sum(model.frame.events(piece)[2])) for piece in corpus.pieces)


def load(path: str | os.PathLike) -> keras.Model:
    """The model of a run directory.

    Raises:
        ValueError: if the directory is no run, or one of another format.
    """
    card(path)
    try:
        return keras.saving.load_model(Path(path) / "model.keras")
    except Exception as error:  # Keras passes on whatever unzipping and rebuilding raise.
        raise ValueError(f"The run's model.keras cannot be read: {error} Received: {str(path)!r}") from error


def card(path: str | os.PathLike) -> dict[str, Any]:
    """The config.json of a run directory.

    Raises:
        ValueError: if the directory is no run, or one of another format.
    """
    path = Path(path)
    try:
        content = json.loads((path / "config.json").read_text())
        found = content["format"]
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(f"This is no run directory (no readable config.json). Received: {str(path)!r}") from None
    if found != FORMAT:
        raise ValueError(
            f"The run has format {found}, this bachkeras reads {FORMAT}: train it again, or install "
            f"the version that made it. Received: {str(path)!r}"
        )
    if not (path / "model.keras").is_file():
        raise ValueError(f"The run holds no model yet (no model.keras). Received: {str(path)!r}")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    unfinished = path.with_name(f".unfinished.{path.name}")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(unfinished, path)


def print_rows(rows: list[dict]) -> None:
    """The likelihoods of evaluation.json as lines."""
    for row in rows:
        figure = row.get("test_nats_per_frame")
        clean = row.get("clean_nats_per_frame")
        text = row.get("notes", "") if figure is None else f"{figure:.3f} nats/frame on the test split of {row['data']}"
        print(f"{row['model']}: {text}" + (f", {clean:.3f} on its clean pieces" if clean else ""))


def _likelihoods(log_p: np.ndarray, test: Corpus) -> dict[str, float | None]:
    clean = likelihood.clean_pieces(test)
    return {
        "test_nats_per_frame": likelihood.nats_per_frame(log_p, test),
        "clean_nats_per_frame": None if clean is None else likelihood.nats_per_frame(log_p, test, clean),
    }


def _optimizer(training: Training, steps: int) -> keras.optimizers.Optimizer:
    warmup = int(steps * training.warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(steps - warmup, 1), warmup_target=training.learning_rate, warmup_steps=max(warmup, 1)
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=training.weight_decay,
        clipnorm=training.clipnorm,
    )


def _card(model_name: str, config: Config, corpus: Corpus, seed: int) -> dict[str, Any]:
    """What a run's directory says of it."""
    settings = Counter(samples.setting(piece) for piece in corpus.pieces)
    return {
        "format": FORMAT,
        "model": model_name,
        "config": config.to_dict(),
        "data": {"name": corpus.name, "version": str(catalog.builder(corpus.name).version)},
        "seed": seed,
        "sounding_shift": corpus.sounding_shift,
        # What the corpus' pieces are like, so that new ones can be: setting, number of pieces.
        "mean_length": corpus.frames / len(corpus),  # In frames.
        "settings": [[setting._asdict(), count] for setting, count in sorted(settings.items())],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


@contextlib.contextmanager
def _directory(out: Path) -> Iterator[None]:
    """A new run directory; of a run that breaks off, the best model so far stays, or nothing."""
    out.mkdir(parents=True)
    try:
        yield
    except BaseException:
        if (out / "model.keras").exists():
            print(f"Broken off: the best model so far is in {out}.")
        else:
            shutil.rmtree(out)
        raise


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Keras's global dtype policy, for a while."""
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(name)
    except ValueError:
        raise ValueError(f"Keras knows no such precision. Received: precision={name!r}") from None
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
