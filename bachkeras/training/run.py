"""A training run and its directory: from a configuration to a model, its figures and its first music."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from bachkeras import _files as files
from bachkeras import _presets as presets
from bachkeras import models
from bachkeras._files import write_json
from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import likelihood, tables
from bachkeras.evaluation.comparison import Comparison
from bachkeras.evaluation.judge import Judge
from bachkeras.evaluation.listening import Listener
from bachkeras.models.lstm_gan import AUTOREGRESSIVE
from bachkeras.music import saving
from bachkeras.training import callbacks, checkpoint, directory, figures, interrupt, samples
from bachkeras.training.board import TensorBoardSamples
from bachkeras.training.checkpoint import Progress
from bachkeras.training.config import GANS, STAGES, Config, Training, from_dict

MODELS = {
    "lstm-attention": models.LSTMAttention,
    "lstm-vae": models.LSTMVAE,
    "hierarchical-vae": models.HierarchicalVAE,
    "vq-vae": models.VQVAE,
    "gan": models.LSTMGAN,
    "wgan": models.LSTMGAN,
}
"""The models by their names on the command line."""

SHOWN = 20
"""So many samples of a training, at the most, are for TensorBoard."""

FRAMES = {"ChainedVoices": models.ChainedVoices, "IndependentNotes": models.IndependentNotes}
"""The frame distributions by their `class` in a configuration."""


class Untrained(RuntimeError):
    """A training that has no epoch whose model could be used."""


def train(
    model_name: str,
    config: Config,
    out: Path,
    *,
    seed: int = 0,
    init: str | os.PathLike | None = None,
    judge: str | os.PathLike | None = None,
    manual_dir: Path | None = None,
) -> None:
    """Train a model, score it and its samples beside the test split, and let it write four pieces.

    Fills `out`: config.json, model.keras (best by validation), history.csv, logs/ (TensorBoard), evaluation.json,
    samples/. Until it is finished, checkpoint.npz too; `resume` goes on from there.

    Args:
        model_name: one of `MODELS`.
        config: what to train, on what, how.
        out: the run directory; it must not exist.
        seed: of the weights, the order of the data, dropout and the samples.
        init: a preset or a run whose model is trained further: its architecture, weights and precision, a new
            optimizer. Then `config` says on what and how. For a GAN also one of lstm-attention: that is its generator
            then.
        judge: a preset or a run whose model says how probable it finds the samples: in the figures, and of a model that
            has no likelihood of its own to choose an epoch by also at every evaluation, see `Listener.distance`.
        manual_dir: see `catalog.build`.

    Raises:
        ValueError: if `out` exists, or the configuration names no such corpus or argument, or `init` is no run of
            `model_name`, or `judge` cannot judge.
        Untrained: if no epoch of it can be used.
    """
    model, corpora, jury = _begun(model_name, config, out, seed, init, judge, manual_dir)
    with files.locked(out):
        _go_on(out, model, Progress(monitors=[*model.monitors.values()]), corpora, jury)


def begin(model_name: str, config: Config, out: Path, *, seed: int = 0, manual_dir: Path | None = None) -> None:
    """Make the directory of a run, not trained yet: `resume` trains it. Arguments and ValueErrors as of `train`."""
    _begun(model_name, config, out, seed, None, None, manual_dir)


def _begun(
    model_name: str,
    config: Config,
    out: Path,
    seed: int,
    init: str | os.PathLike | None,
    judge: str | os.PathLike | None,
    manual_dir: Path | None,
) -> tuple[keras.Model, dict[str, Corpus], Judge | None]:
    """A new run directory, and what trains in it: the compiled model, its corpus, who judges its samples."""
    if out.exists():
        advice = "go on with it by --resume, or " if (out / checkpoint.NAME).exists() else ""
        found = f"{'an unfinished' if advice else 'a'} run" if (out / "config.json").exists() else "something"
        raise ValueError(f"There is {found} already: {advice}choose another directory. Received: out={str(out)!r}")
    keras.utils.set_random_seed(seed)
    if init is not None:
        config, before = _like(init, model_name, config)
    corpora = _corpora(config, manual_dir)
    # A folder's name is its whole path from now on: the run may be gone on with from elsewhere.
    config = config.changed({"data.name": corpora["train"].name})
    if init is None:
        with _dtype_policy(config.training.precision):
            model = make_model(model_name, config, corpora.values())
    else:
        model = directory.load(init)
        if not isinstance(model, MODELS[model_name]):
            model = make_model(model_name, config, corpora.values(), generator=model)
        if model.frame.labelled and model.frame.voices != min(corpus.voices for corpus in corpora.values()):
            raise ValueError(
                f"That run's model reads {model.frame.voices} labelled voices, and the corpus has not as many. "
                f"Received: init={str(init)!r}, data={config.data.name!r}"
            )
    if model.window and 0 < config.data.window < model.window:
        raise ValueError(
            f"A training example has at least the {model.window} frames of the model's window; with twice as many it "
            f"learns to go on. Received: [data] window={config.data.window}"
        )
    dropped = likelihood.dropped_notes(model, corpora["train"].pieces)
    if dropped:
        print(f"{dropped} notes of the training split do not fit {model.frame.voices} voices and are left out.")
    jury = _jury(judge, model, corpora)
    batches = int(_batches(config, corpora, seed).cardinality())
    model.compile(*_optimizers(model, config, batches))
    model.build_optimizers()
    content = directory.describe(model_name, config, corpora["train"], seed)
    if init is not None:
        content["init"] = {"run": presets.reference(init), "trained_on": before}
    if judge is not None:
        content["judge"] = presets.reference(judge)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(out) as folder:
        folder.mkdir()
        write_json(folder / "config.json", content)
        checkpoint.write(folder / checkpoint.NAME, model, Progress())
    return model, corpora, jury


def resume(out: Path, *, manual_dir: Path | None = None, finish: bool = True) -> None:
    """Go on with a run that was broken off, at any moment and in any way, as if it had not been; or say it is finished.

    Args:
        out: the run directory.
        manual_dir: see `catalog.build`.
        finish: whether the trained model is scored beside the test split and writes its pieces. If not, the run stays
            unfinished, its model.keras trained and the test split not looked at.

    Raises:
        ValueError: if `out` is no run, or cannot be gone on with.
        RuntimeError: if another process trains in it.
        Untrained: if no epoch of it can be used.
    """
    content = directory.card(out)
    with files.locked(out):
        if not (out / checkpoint.NAME).exists():
            if not (out / "evaluation.json").exists():
                raise ValueError(f"The run was broken off and has no {checkpoint.NAME}. Received: out={str(out)!r}")
            print(f"The run in {out} is finished.")
            return
        files.remove_unfinished(out)
        keras.utils.set_random_seed(content["seed"])
        corpora = _corpora(from_dict(content["config"]), manual_dir)
        if directory.data(corpora["train"]) != content["data"]:
            raise ValueError(
                f"The corpus has changed since the run was begun: put it back as it was, or train another run. "
                f"Received: {corpora['train'].version!r}, begun with {content['data']['version']!r}"
            )
        model, progress = checkpoint.read(out / checkpoint.NAME)
        print(f"Going on with {out} after epoch {len(progress.rows)}.")
        _go_on(out, model, progress, corpora, _jury(content.get("judge"), model, corpora), finish)


def _go_on(
    out: Path,
    model: keras.Model,
    progress: Progress,
    corpora: dict[str, Corpus],
    jury: Judge | None,
    finish: bool = True,
) -> None:
    """From a compiled model in a run directory to a trained one, and to a finished run."""
    content = directory.card(out)
    seed = content["seed"]
    with _breaking_off(out, content["model"], model, progress):
        fit(model, from_dict(content["config"]), corpora, out, seed, progress, jury, show=finish)
        if not finish:
            return
        minutes = progress.seconds / 60
        _restore(model, out)
        print(f"Best epoch {progress.best_epoch + 1}; {minutes:.1f} minutes.")
        comparison = Comparison(corpora, model.frame.labelled, jury)
        row, _ = figures.evaluate(model, out.absolute().name, content, comparison, seed=seed, minutes=minutes)
        rows = [row, *comparison.references(None, seed)]
        write_json(out / "evaluation.json", rows)
        print(tables.table(rows))
        if not (out / "samples").exists():
            with files.whole(out / "samples") as folder:
                saving.write(folder, samples.scores(model, content, count=4, seed=seed))
        print(f"New music: {', '.join(str(path) for path in sorted((out / 'samples').glob('*.mid')))}")
        (out / checkpoint.NAME).unlink()


def make_model(
    name: str, config: Config, corpora: Collection[Corpus], generator: keras.Model | None = None
) -> keras.Model:
    """The model of a configuration, with as many voices as the data have; of a GAN `generator`, if it has one already.

    Raises:
        ValueError: if the configuration does not fit the model or the data.
    """
    arguments = dict(config.model)
    if name in GANS and arguments.setdefault("objective", GANS[name]) != GANS[name]:
        raise ValueError(f"The objective of {name} is {GANS[name]}. Received: objective={arguments['objective']!r}")
    parts = {"frame": _frame(config, corpora)} if generator is None else {"generator": generator}
    try:
        model = MODELS[name](**{**arguments, **parts})
        model.build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"The configuration does not fit {name}: {error}") from error
    return model


def _frame(config: Config, corpora: Collection[Corpus]) -> keras.layers.Layer:
    """The frame distribution of a configuration."""
    arguments = dict(config.frame)
    kind = arguments.pop("class", "ChainedVoices")
    if kind not in FRAMES:
        raise ValueError(f"The frame distributions are {', '.join(FRAMES)}. Received: class={kind!r}")
    if kind == "ChainedVoices":
        labelled = arguments.get("labelled", False)
        voices = min(corpus.voices for corpus in corpora) if labelled else max(corpus.polyphony for corpus in corpora)
        arguments.setdefault("voices", voices)
        if labelled and (not voices or arguments["voices"] != voices):
            raise ValueError(f"The corpus has {voices or 'no'} labelled voices. Received: {arguments}")
    return FRAMES[kind](**arguments)


def fit(
    model: keras.Model,
    config: Config,
    corpora: dict[str, Corpus],
    out: Path,
    seed: int,
    progress: Progress,
    jury: Judge | None = None,
    show: bool = True,
) -> None:
    """Fit a compiled model, from the epoch that `progress` has come to; the best one by validation is kept in `out`.

    Each stage begins with the best epoch of the one before. With `show` TensorBoard gets some samples.
    """
    stages = _stages(model, config)
    epochs = sum(training.epochs for training in stages.values())
    listening, showing = [], []
    if show:
        evaluations = epochs // min(training.evaluate_every for training in stages.values())
        every = max(1, -(-evaluations // SHOWN))
        showing = [TensorBoardSamples(out / "logs" / "samples", corpora["train"], every)]
    if model.judged_by_samples:
        listener = Listener(corpora["train"], corpora["validation"], model.frame.labelled, jury)
        listening = [callbacks.Listen(listener, corpora, progress, config.training, seed)]
    window = config.data.window or None if model.judged_by_samples else model.window
    for number, (stage, training) in enumerate(stages.items(), 1):
        if number < progress.stage:
            continue
        if number > progress.stage:
            _restore(model, out)
            progress.stage = number
        over = progress.over(training)
        if len(stages) > 1:
            model.stage = stage
        if len(stages) > 1 and not over:
            print(f"Stage {number} of {len(stages)}: {stage}, at most {training.epochs} epochs.")
        done = len(progress.rows)
        # Keras warns of shuffling a dataset that it does not shuffle; ours comes shuffled.
        model.fit(
            _batches(config, corpora, seed, first_epoch=done),
            validation_data=likelihood.quoted(corpora["validation"]).windows(window, shuffle=False).batch(32),
            validation_freq=training.evaluate_every,
            initial_epoch=done,
            epochs=done if over else epochs,
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                *listening,
                callbacks.Keep(out, progress, training),
                callbacks.Curves(out / "logs", progress),
                *showing,
            ],
            verbose="auto" if sys.stdout.isatty() else 2,
            shuffle=False,
        )
        section = model.optimizers[number - 1]
        if progress.diverged:
            raise Untrained(
                f"Training diverged in its first epoch: lower [{section}] learning_rate. "
                f"Received: learning_rate={training.learning_rate}"
            )
        if progress.best_epoch < 0:
            raise Untrained(
                f"No epoch was evaluated, so there is no best one: lower [{section}] evaluate_every. "
                f"Received: evaluate_every={training.evaluate_every}, minutes={training.minutes}"
            )
        if progress.trouble:
            print(f"Epoch {len(progress.rows)}: {progress.trouble}. Training stops; the best epoch is kept.")


def _stages(model: keras.Model, config: Config) -> dict[str, Training]:
    """How each stage of a model's training is optimised, by its name."""
    return dict(zip(model.monitors, _trainings(model, config).values(), strict=False))


def _trainings(model: keras.Model, config: Config) -> dict[str, Training]:
    """The sections of a model's optimizers; one that a configuration has not is like the first."""
    for name in set(STAGES) - set(model.optimizers):
        if getattr(config, name):
            raise ValueError(f"This model has no {name} of its own to train: leave [{name}] out. Received: [{name}]")
    return {name: getattr(config, name) or config.training for name in model.optimizers}


def _restore(model: keras.Model, out: Path) -> None:
    """Give a model the weights of the best epoch so far."""
    best = keras.saving.load_model(out / "model.keras", compile=False)
    for variable, value in zip(model.weights, best.weights, strict=True):
        variable.assign(value)


def _optimizers(model: keras.Model, config: Config, batches: int) -> list[keras.optimizers.Optimizer]:
    """The optimizers of a model.

    Args:
        model: it says which, and how many steps each makes in a batch.
        config: how they are.
        batches: of an epoch.
    """
    steps = {"discriminator": getattr(model, "critic_steps", 1)}
    return [
        _optimizer(training, batches * training.epochs * steps.get(name, 1))
        for name, training in _trainings(model, config).items()
    ]


def _optimizer(training: Training, steps: int) -> keras.optimizers.Optimizer:
    warmup = int(steps * training.warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(steps - warmup, 1),
        alpha=1.0 if training.schedule == "constant" else 0.0,
        warmup_target=training.learning_rate,
        warmup_steps=max(warmup, 1),
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=training.weight_decay,
        beta_1=training.beta_1,
        clipnorm=training.clipnorm or None,
    )


def _corpora(config: Config, manual_dir: Path | None) -> dict[str, Corpus]:
    data = config.data
    corpora = {
        split: catalog.load(data.name, split, keep_performances=data.keep_performances, manual_dir=manual_dir)
        for split in catalog.SPLITS
    }
    if len({corpus.version for corpus in corpora.values()}) > 1:
        raise ValueError(f"The folder has changed while it was read: try again. Received: data={data.name!r}")
    return corpora


def _batches(config: Config, corpora: dict[str, Corpus], seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """The training data; an epoch's batches are a function of the seed and its number."""
    data = config.data
    windows = corpora["train"].windows(
        data.window or None,
        transpose=data.transpose,
        untransposed=data.untransposed,
        overhang=data.overhang,
        seed=seed,
    )
    return windows.batch(data.batch_size, first_epoch=first_epoch)


def _jury(judge: str | os.PathLike | None, model: keras.Model, corpora: dict[str, Corpus]) -> Judge | None:
    """The judge of a run's samples, or None.

    Raises:
        ValueError: if it is no run, or cannot judge the samples by which an epoch is to be chosen.
    """
    if judge is None:
        return None
    jury = directory.judge(judge)
    if model.judged_by_samples:
        held_out = corpora["validation"]
        objection = jury.objection(held_out.pieces, held_out)
        reads, writes = jury.model.frame, model.frame
        if (reads.labelled and not writes.labelled) or (reads.onsets and not writes.onsets):
            objection = "it reads labelled voices or onsets, which the model does not write"
        if objection:
            raise ValueError(f"This judge cannot choose an epoch: {objection}. Received: judge={str(judge)!r}")
    return jury


def _like(init: str | os.PathLike, model_name: str, config: Config) -> tuple[Config, list[str]]:
    """A configuration with another run's model, and the corpora that its weights have seen.

    Raises:
        ValueError: if there is no such run, or it is one of a model that cannot go on as this one.
    """
    content = directory.card(init)
    there = from_dict(content["config"])
    if content["model"] == model_name:
        further = config.every_stage(precision=there.training.precision)
        return dataclasses.replace(further, model=there.model, frame=there.frame), content["trained_on"]
    if model_name not in GANS or content["model"] != "lstm-attention":
        raise ValueError(f"That run is of the model {content['model']}, not {model_name}. Received: init={str(init)!r}")
    if config.model.get("generator", AUTOREGRESSIVE) != AUTOREGRESSIVE:
        raise ValueError(
            f"A run of lstm-attention is an autoregressive generator. Received: generator={config.model['generator']!r}"
        )
    arguments = {**config.model, "generator": AUTOREGRESSIVE}
    return dataclasses.replace(config, model=arguments, frame=there.frame), content["trained_on"]


@contextlib.contextmanager
def _breaking_off(out: Path, model_name: str, model: keras.Model, progress: Progress) -> Iterator[None]:
    """Of a run that breaks off stay the best model so far and what `resume` needs; of one that diverged, nothing."""
    try:
        yield
    except BaseException as error:
        if progress.diverged and progress.stage == 1:
            shutil.rmtree(out)
            raise
        with interrupt.held():
            if sys.stdout.isatty():
                print()  # Keras's progress bar ends in the middle of a line.
            kept = "no model is saved yet"
            if progress.rows and (out / "model.keras").exists():
                kept = f"the best model so far is in {out}"
                if progress.best_epoch < 0 or progress.stage < len(progress.monitors):
                    kept += ", its prior not trained yet"
            elif isinstance(error, KeyboardInterrupt):
                callbacks.save(model, out)
                kept = f"the first epoch was not over, so the model as it is now is in {out}"
            command = shlex.join(["bachkeras", "train", model_name, "--out", str(out), "--resume"])
            print(f"Broken off: {kept}." + ("" if progress.diverged else f" Go on with: {command}"))
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
