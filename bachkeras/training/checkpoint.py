"""How far a run has come, in one file: the only truth about it, from which everything else can be made again."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from bachkeras import _files as files
from bachkeras.training.config import Training

NAME = "checkpoint.npz"
"""The file in the run directory; it is there as long as the run is unfinished."""


COLLAPSED = "collapsed"
"""Column of history.csv: evaluations on end at which the samples had collapsed, see `Listener`."""

COLLAPSES = 2
"""So many, and training stops."""


@dataclasses.dataclass
class Progress:
    """The epochs of a run so far.

    Attributes:
        rows: those of history.csv, one an epoch; where there are several stages, `stage` says in which it was. Not
            every epoch need be validated.
        monitors: the figure that chooses the best epoch of each stage, see `FrameModel.monitors`.
        stage: the stage that goes on, from 1.
    """

    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)
    monitors: Sequence[str] = ("val_nats_per_frame",)
    stage: int = 1

    @property
    def monitor(self) -> str:
        """The figure that chooses the stage's best epoch."""
        return self.monitors[self.stage - 1]

    @property
    def begun(self) -> int:
        """The stage's first epoch, from 0: those of earlier stages are before it."""
        return sum(row.get("stage", 1) < self.stage for row in self.rows)

    @property
    def seconds(self) -> float:
        """How long the epochs took, the broken off ones left out."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    def clock(self) -> Callable[[], float]:
        """A clock that goes on now where the epochs so far have left it, in seconds."""
        began = time.monotonic() - self.seconds
        return lambda: time.monotonic() - began

    @property
    def best_epoch(self) -> int:
        """The stage's epoch with the lowest `monitor`, from 0; -1 where there is none yet."""
        epochs = range(self.begun, len(self.rows))
        # Of an epoch whose loss is no number the weights are none either, whatever its other figures are.
        needed = {self.monitor: math.nan, "loss": 0.0}
        known = [e for e in epochs if all(math.isfinite(self.rows[e].get(name, needed[name])) for name in needed)]
        return min(known, key=lambda epoch: self.rows[epoch][self.monitor], default=-1)

    @property
    def diverged(self) -> bool:
        """Whether the stage broke off before it had a good epoch."""
        return len(self.rows) > self.begun and self.best_epoch < 0 and bool(self.trouble)

    @property
    def trouble(self) -> str:
        """Why the stage cannot go on, or nothing."""
        row = self.rows[-1] if len(self.rows) > self.begun else {}
        wrong = [name for name, value in row.items() if not math.isfinite(value)]
        if wrong:
            return f"{', '.join(wrong)} not finite"
        if row.get(COLLAPSED, 0) >= COLLAPSES:
            return "the samples are all alike, or have next to no chords, as they were at the last evaluation"
        return ""

    def over(self, training: Training) -> bool:
        """Whether the stage ends here, by its configuration or in `trouble`."""
        done = len(self.rows) - self.begun
        if not done or done >= training.epochs:
            return bool(done)
        since = len(self.rows) - 1 - self.best_epoch
        late = training.minutes and self.seconds >= 60 * training.minutes
        return bool(late or (training.patience and since >= training.patience) or self.trouble)


def write(path: Path, model: keras.Model, progress: Progress) -> None:
    """Write a compiled model and the progress of its training.

    The file is NumPy's `.npz`: `state`, a JSON text with `model` (Keras's config: architecture, optimizer, schedule)
    and `rows`; then every variable in Keras's order, those of random seeds and of optimizers too. A `.keras` file
    leaves the seeds out, and without them dropout would not go on where it stopped.
    """
    state = {"model": keras.saving.serialize_keras_object(model), "rows": progress.rows}
    values = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    with files.whole(path) as unfinished:
        np.savez(unfinished, *values, state=json.dumps(state))


def read(path: Path) -> tuple[keras.Model, Progress]:
    """A compiled model and the progress of its training, as they were.

    Raises:
        ValueError: if the file cannot be read.
    """
    try:
        with np.load(path) as content:
            state = json.loads(str(content["state"]))
            values = [content[f"arr_{i}"] for i in range(len(content.files) - 1)]
        model = keras.saving.deserialize_keras_object(state["model"])
        for variable, value in zip(_variables(model), values, strict=True):
            variable.assign(value)
    except Exception as error:  # Keras and NumPy pass on whatever unzipping and rebuilding raise.
        raise ValueError(f"The checkpoint cannot be read: {error} Received: {str(path)!r}") from error
    stage = int(state["rows"][-1].get("stage", 1)) if state["rows"] else 1
    return model, Progress(state["rows"], [*model.monitors.values()], stage)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Everything that training changes: the model's variables, its random seeds', its optimizers'."""
    optimizers = [value for _, value in sorted(vars(model).items()) if isinstance(value, keras.optimizers.Optimizer)]
    return [*model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]
