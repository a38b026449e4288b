"""A training run and its directory: from a configuration to a model, its figures and its first music."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bachkeras import models
from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import likelihood
from bachkeras.training import callbacks, checkpoint, files, interrupt, samples
from bachkeras.training.checkpoint import Progress
from bachkeras.training.config import Config, Training, from_dict
from bachkeras.training.files import write_json

FORMAT = 1
"""Number of the run directory's format: what has another one is refused, not guessed at."""

MODELS = {"lstm-attention": models.LSTMAttention}
"""The models by their names on the command line."""

FRAMES = {"ChainedVoices": models.ChainedVoices, "IndependentNotes": models.IndependentNotes}
"""The frame distributions by their `class` in a configuration."""

PACKAGES = ("bachkeras", "tensorflow", "keras", "tensorflow-datasets", "numpy")


def train(
    model_name: str,
    config: Config,
    out: Path,
    *,
    seed: int = 0,
    init: Path | None = None,
    manual_dir: Path | None = None,
) -> None:
    """Train a model, score it on the test split and let it write four pieces.

    Fills `out`: config.json, model.keras (best by validation), history.csv, logs/ (TensorBoard), evaluation.json,
    samples/. Until it is finished, checkpoint.npz too; `resume` goes on from there.

    Args:
        model_name: one of `MODELS`.
        config: what to train, on what, how.
        out: the run directory; it must not exist.
        seed: of the weights, the order of the data, dropout and the samples.
        init: a run whose model is trained further: its architecture, weights and precision, a new optimizer. Then
            `config` says on what and how.
        manual_dir: see `catalog.build`.

    Raises:
        ValueError: if `out` exists, or the configuration names no such corpus or argument, or `init` is no run of
            `model_name`.
    """
    if out.exists():
        advice = "go on with it by --resume, or " if (out / checkpoint.NAME).exists() else ""
        found = f"{'an unfinished' if advice else 'a'} run" if (out / "config.json").exists() else "something"
        raise ValueError(f"There is {found} already: {advice}choose another directory. Received: out={str(out)!r}")
    keras.utils.set_random_seed(seed)
    if init is not None:
        config, before = _like(init, model_name, config)
    corpora = _corpora(config, manual_dir)
    if init is None:
        with _dtype_policy(config.training.precision):
            model = make_model(model_name, config, max(corpus.polyphony for corpus in corpora.values()))
    else:
        model = load(init)
    dropped = dropped_notes(model, corpora["train"])
    if dropped:
        print(f"{dropped} notes of the training split do not fit {model.frame.voices} voices and are left out.")
    steps = int(_batches(config, corpora, seed).cardinality()) * config.training.epochs
    model.compile(_optimizer(config.training, steps))
    model.optimizer.build(model.trainable_variables)
    content = _card(model_name, config, corpora["train"], seed)
    if init is not None:
        content["init"] = {"run": str(init), "trained_on": before}
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(out) as folder:
        folder.mkdir()
        write_json(folder / "config.json", content)
        checkpoint.write(folder / checkpoint.NAME, model, Progress())
    with files.locked(out):
        _go_on(out, model, Progress(), corpora)


def resume(out: Path, *, manual_dir: Path | None = None) -> None:
    """Go on with a run that was broken off, at any moment and in any way, as if it had not been; or say it is finished.

    Args:
        out: the run directory.
        manual_dir: see `catalog.build`.

    Raises:
        ValueError: if `out` is no run, or cannot be gone on with.
        RuntimeError: if another process trains in it.
    """
    content = card(out)
    with files.locked(out):
        if not (out / checkpoint.NAME).exists():
            if not (out / "evaluation.json").exists():
                raise ValueError(f"The run was broken off and has no {checkpoint.NAME}. Received: out={str(out)!r}")
            print(f"The run in {out} is finished.")
            return
        files.remove_unfinished(out)
        keras.utils.set_random_seed(content["seed"])
        corpora = _corpora(from_dict(content["config"]), manual_dir)
        if _data(corpora["train"]) != content["data"]:
            raise ValueError(f"The run was begun with another version of its corpus. Received: {content['data']}")
        model, progress = checkpoint.read(out / checkpoint.NAME)
        print(f"Going on with {out} after epoch {len(progress.rows)}.")
        _go_on(out, model, progress, corpora)


def _go_on(out: Path, model: keras.Model, progress: Progress, corpora: dict[str, Corpus]) -> None:
    """From a compiled model in a run directory to a finished run."""
    content = card(out)
    seed = content["seed"]
    with _breaking_off(out, content["model"], model, progress):
        fit(model, from_dict(content["config"]), corpora, out, seed, progress)
        minutes = progress.seconds / 60
        model = keras.saving.load_model(out / "model.keras")
        print(f"Best epoch {progress.best_epoch + 1}; {minutes:.1f} minutes.")
        rows = evaluate(model, out.absolute().name, corpora, minutes, seed, content["trained_on"])
        write_json(out / "evaluation.json", rows)
        print_rows(rows)
        if not (out / "samples").exists():
            with files.whole(out / "samples") as folder:
                samples.write(model, content, folder, count=4, length=64, seed=seed)
        print(f"New music: {', '.join(str(path) for path in sorted((out / 'samples').iterdir()))}")
        (out / checkpoint.NAME).unlink()


def make_model(name: str, config: Config, voices: int) -> keras.Model:
    """The model of a configuration, for data with up to `voices` notes a frame."""
    arguments = dict(config.frame)
    kind = arguments.pop("class", "ChainedVoices")
    if kind not in FRAMES:
        raise ValueError(f"The frame distributions are {', '.join(FRAMES)}. Received: class={kind!r}")
    if kind == "ChainedVoices":
        arguments.setdefault("voices", voices)
    try:
        model = MODELS[name](**config.model, frame=FRAMES[kind](**arguments))
        model.build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"The configuration does not fit {name}: {error}") from error
    return model


def fit(
    model: keras.Model, config: Config, corpora: dict[str, Corpus], out: Path, seed: int, progress: Progress
) -> None:
    """Fit a compiled model, from the epoch that `progress` has come to; the best one by validation is kept in `out`."""
    epochs, patience = config.training.epochs, config.training.patience
    done = len(progress.rows)
    # Keras warns of shuffling a dataset that it does not shuffle; ours comes shuffled.
    model.fit(
        _batches(config, corpora, seed, first_epoch=done),
        validation_data=likelihood.quoted(corpora["validation"]).windows(None, shuffle=False).batch(32),
        initial_epoch=done,
        epochs=done if progress.over(epochs, patience) else epochs,
        callbacks=[
            keras.callbacks.TerminateOnNaN(),
            callbacks.Keep(out, progress, epochs, patience),
            callbacks.Curves(out / "logs", progress),
        ],
        verbose="auto" if sys.stdout.isatty() else 2,
        shuffle=False,
    )
    if progress.best_epoch < 0:
        raise RuntimeError("Training diverged in its first epoch: lower [training] learning_rate.")


def evaluate(
    model: keras.Model,
    name: str,
    corpora: dict[str, Corpus],
    minutes: float,
    seed: int,
    trained_on: Sequence[str] = (),
) -> list[dict]:
    """Rows of evaluation.json: the model and the chord trigram on the test split.

    A model whose weights saw a corpus that may share tunes with the test split, see `trained_on`, gets no likelihood.
    """
    test = likelihood.quoted(corpora["test"])
    trigram = likelihood.ChordTrigram([piece["pianoroll"] for piece in corpora["train"].pieces])
    floor = np.array([trigram.log_prob(piece["pianoroll"]).sum() for piece in test.pieces])
    common = {"data": test.name, "protocol": likelihood.PROTOCOLS.get(test.name, test.name), "frames": test.frames}
    row = {
        "model": name,
        **common,
        "seed": seed,
        "parameters": model.count_params(),
        "train_minutes": round(minutes, 1),
    }
    dropped = dropped_notes(model, test)
    unfair = likelihood.may_share_tunes(trained_on, test.name)
    if unfair:
        reason = f"the weights have seen {', '.join(unfair)}, whose pieces may share tunes with this test split"
        row |= {"likelihood": None, "notes": reason}
    elif dropped:
        row |= {"likelihood": None, "notes": f"{dropped} notes of the test split do not fit the model's voices"}
    else:
        row |= {"likelihood": model.likelihood, **_likelihoods(likelihood.log_probs(model, test), test)}
    return [row, {"model": "chord trigram", **common, "likelihood": "exact", **_likelihoods(floor, test)}]


def dropped_notes(model: keras.Model, corpus: Corpus) -> int:
    """Notes of a corpus that do not fit the model's voices."""
    return sum(int(np.sum(model.frame.events(piece["pianoroll"])[1])) for piece in corpus.pieces)


def load(path: str | os.PathLike) -> keras.Model:
    """The model of a run directory.

    Raises:
        ValueError: if the directory is no run, or one of another format, or holds no model yet.
    """
    card(path)
    if not (Path(path) / "model.keras").is_file():
        raise ValueError(f"The run holds no model yet (no model.keras). Received: {str(path)!r}")
    try:
        return keras.saving.load_model(Path(path) / "model.keras")
    except Exception as error:  # Keras passes on whatever unzipping and rebuilding raise.
        raise ValueError(f"The run's model.keras cannot be read: {error} Received: {str(path)!r}") from error


def card(path: str | os.PathLike) -> dict[str, Any]:
    """The config.json of a run directory, and `trained_on`: the corpora whose training split the weights have seen.

    They are in the order of training; the run's own corpus is the last one.

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
    own = content["data"]["name"]
    before = content.get("init", {}).get("trained_on", [])
    return content | {"trained_on": [*(name for name in before if name != own), own]}


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
        "data": _data(corpus),
        "seed": seed,
        "sounding_shift": corpus.sounding_shift,
        # What the corpus' pieces are like, so that new ones can be: setting, number of pieces.
        "settings": [[setting._asdict(), count] for setting, count in sorted(settings.items())],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _data(corpus: Corpus) -> dict[str, str]:
    return {"name": corpus.name, "version": str(catalog.builder(corpus.name).version)}


def _corpora(config: Config, manual_dir: Path | None) -> dict[str, Corpus]:
    return {split: catalog.load(config.data.name, split, manual_dir=manual_dir) for split in catalog.SPLITS}


def _batches(config: Config, corpora: dict[str, Corpus], seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """The training data; an epoch's batches are a function of the seed and its number."""
    data = config.data
    windows = corpora["train"].windows(
        data.window or None, transpose=data.transpose, untransposed=data.untransposed, seed=seed
    )
    return windows.batch(data.batch_size, first_epoch=first_epoch)


def _like(init: Path, model_name: str, config: Config) -> tuple[Config, list[str]]:
    """A configuration with another run's model, and the corpora that its weights have seen.

    Raises:
        ValueError: if there is no such run, or it is one of another model.
    """
    content = card(init)
    if content["model"] != model_name:
        raise ValueError(f"That run is of the model {content['model']}, not {model_name}. Received: init={str(init)!r}")
    there = from_dict(content["config"])
    training = dataclasses.replace(config.training, precision=there.training.precision)
    return dataclasses.replace(there, data=config.data, training=training), content["trained_on"]


@contextlib.contextmanager
def _breaking_off(out: Path, model_name: str, model: keras.Model, progress: Progress) -> Iterator[None]:
    """Of a run that breaks off stay the best model so far and what `resume` needs; of one that diverged, nothing."""
    try:
        yield
    except BaseException as error:
        if progress.rows and progress.best_epoch < 0:
            shutil.rmtree(out)
            raise
        with interrupt.held():
            if sys.stdout.isatty():
                print()  # Keras's progress bar ends in the middle of a line.
            kept = "no model is saved yet"
            if progress.rows and (out / "model.keras").exists():
                kept = f"the best model so far is in {out}"
            elif isinstance(error, KeyboardInterrupt):
                callbacks.save(model, out)
                kept = f"the first epoch was not over, so the model as it is now is in {out}"
            command = shlex.join(["bachkeras", "train", model_name, "--out", str(out), "--resume"])
            print(f"Broken off: {kept}. Go on with: {command}")
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
