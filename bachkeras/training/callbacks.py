"""What happens between epochs: a checkpoint, the best model, the curves."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from bachkeras import _files as files
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation.listening import Listener
from bachkeras.evaluation.report import NOT_CURVES
from bachkeras.training import checkpoint, interrupt, samples, settings
from bachkeras.training.checkpoint import COLLAPSED, Progress
from bachkeras.training.config import Training


class Keep(keras.callbacks.Callback):
    """After each epoch: the checkpoint first, then the files that are made from it.

    A process that is killed in between loses nothing: the next one publishes what the checkpoint says.

    Args:
        out: the run directory.
        progress: the epochs before; it grows.
        training: the stage's configuration, which says when it ends.
    """

    def __init__(self, out: Path, progress: Progress, training: Training):
        super().__init__()
        self.out = out
        self.progress = progress
        self.training = training

    def on_train_begin(self, logs=None):
        """Start the clock where it stopped."""
        self.clock = self.progress.clock()
        with interrupt.held():
            self._publish()

    def on_epoch_end(self, epoch, logs=None):
        """Keep the epoch, and end the stage where it no longer helps."""
        row = {"epoch": epoch, "seconds": round(self.clock(), 1)}
        if len(self.progress.monitors) > 1:
            row["stage"] = self.progress.stage
        row |= {name: float(value) for name, value in logs.items()}
        with interrupt.held():
            checkpoint.write(self.out / checkpoint.NAME, self.model, Progress([*self.progress.rows, row]))
            self.progress.rows.append(row)
            self._publish()
        if self.progress.over(self.training):
            self.model.stop_training = True

    def _publish(self):
        rows = self.progress.rows
        if rows and self.progress.best_epoch == len(rows) - 1:
            save(self.model, self.out)
        if rows:
            with files.whole(self.out / "history.csv") as path, open(path, "w", newline="") as file:
                # Stages tell of different things.
                writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
                writer.writeheader()
                writer.writerows(rows)


class Listen(keras.callbacks.Callback):
    """Adds to the figures of an epoch those of samples beside the validation pieces; see `Listener`.

    They are quoted samples: temperature 1, nothing filtered, of the lengths of the validation pieces, the same seed at
    each evaluation.

    Args:
        listener: for the corpus, with the voices as the model writes them.
        corpora: by split.
        progress: the epochs before.
        training: which epochs are evaluated; the last one is, also the last one in time.
        seed: of the samples.
    """

    def __init__(
        self, listener: Listener, corpora: Mapping[str, Corpus], progress: Progress, training: Training, seed: int
    ):
        super().__init__()
        self.listener = listener
        self.progress = progress
        self.training = training
        self.seed = seed
        self.lengths = [len(piece["pianoroll"]) for piece in corpora["validation"].pieces]
        self.settings = settings.draw(settings.of_corpus(corpora["train"]), len(self.lengths), seed)

    def on_train_begin(self, logs=None):
        """Start the clock where it stopped."""
        self.clock = self.progress.clock()

    def on_epoch_end(self, epoch, logs=None):
        """Write samples and describe them."""
        late = self.training.minutes and self.clock() >= 60 * self.training.minutes
        last = late or epoch + 1 - self.progress.begun >= self.training.epochs
        if ((epoch + 1) % self.training.evaluate_every and not last) or not math.isfinite(logs["loss"]):
            return
        pieces = samples.compose(self.model, self.settings, self.lengths, seed=self.seed)
        found = self.listener.describe(pieces)
        before = [row[COLLAPSED] for row in self.progress.rows if COLLAPSED in row]
        collapsed = 1 + (before[-1] if before else 0) if self.listener.collapsed(found) else 0
        # What a sample has not is no figure of the epoch: not a number would end the training.
        logs |= {f"val_{name}": value for name, value in found.items() if math.isfinite(value)}
        distance = self.listener.distance(found)
        if math.isfinite(distance):
            logs["val_distance"] = distance
        logs[COLLAPSED] = collapsed


class Curves(keras.callbacks.Callback):
    """The rows of history.csv for TensorBoard, as Keras's callback names them.

    Keras's own keeps minutes of curves in memory, so a killed process leaves holes. This one writes the earlier epochs
    again when training goes on.

    Args:
        folder: for the curves, `train` and `validation`.
        progress: the epochs before.
    """

    def __init__(self, folder: Path, progress: Progress):
        super().__init__()
        self.folder = folder
        self.progress = progress

    def on_train_begin(self, logs=None):
        """Begin the curves anew."""
        self.writers = {}
        for prefix, name in (("", "train"), ("val_", "validation")):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            self.writers[prefix] = tf.summary.create_file_writer(str(self.folder / name))
        for row in self.progress.rows:
            self._write(row["epoch"], {name: value for name, value in row.items() if name not in NOT_CURVES})

    def on_epoch_end(self, epoch, logs=None):
        """Write the epoch."""
        self._write(epoch, logs)

    def on_train_end(self, logs=None):
        """Close the files."""
        for writer in self.writers.values():
            writer.close()

    def _write(self, epoch, logs):
        for name, value in logs.items():
            prefix = "val_" if name.startswith("val_") else ""
            with self.writers[prefix].as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=epoch)
        for writer in self.writers.values():
            writer.flush()


def save(model: keras.Model, out: Path) -> None:
    """Save a model in its run directory, whole at every moment."""
    with files.whole(out / "model.keras") as unfinished:
        model.save(unfinished)
