"""What happens between epochs: the best model is kept, the curves are written, the terminal shows a line."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import keras

MONITOR = "val_nats_per_frame"
"""What chooses the best model."""


class SaveBest(keras.callbacks.Callback):
    """Keeps the model with the lowest `val_nats_per_frame` in `path`, whole at every moment."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.best = float("inf")
        self.best_epoch = -1

    def on_epoch_end(self, epoch, logs=None):
        """Save, where this epoch is the best so far."""
        value = logs[MONITOR]
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            unfinished = self.path.with_name(f".unfinished.{self.path.name}")
            try:
                self.model.save(unfinished)
                os.replace(unfinished, self.path)
            finally:
                unfinished.unlink(missing_ok=True)


class History(keras.callbacks.Callback):
    """A row an epoch in a CSV file: epoch, seconds since the start, the logs."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        """Start the clock."""
        self.began = time.monotonic()
        self.columns = None

    def on_epoch_end(self, epoch, logs=None):
        """Append the epoch."""
        row = {"epoch": epoch, "seconds": round(time.monotonic() - self.began, 1), **logs}
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, self.columns or list(row))
            if self.columns is None:
                writer.writeheader()
                self.columns = list(row)
            writer.writerow(row)
