"""What TensorBoard shows and plays of a model in training."""

from __future__ import annotations

import os

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN, Corpus
from bachkeras.music import render, synthesis
from bachkeras.training import samples, settings
from bachkeras.training.settings import Setting

QUARTERS = 16
"""How long a sample is, in quarters."""

UNTOLD = Setting(UNKNOWN["tonic"], UNKNOWN["mode"], 1, 1, 0, UNKNOWN["position"])
"""How a sample is written down of which the model is told nothing."""

DOTS_PER_INCH = 80

THINNED = 2
"""Of so many samples of the sound one is kept: event files grow fast."""


class TensorBoardSamples(keras.callbacks.Callback):
    """At every validation, a piece that the model writes, for TensorBoard: a piano roll and its sound.

    It is the same beginning each time, written with the same random numbers: what changes is what the model has
    learned. `tensorboard --logdir DIR` has the roll under Images and the sound under Audio, by the epoch.

    Args:
        log_dir: folder for the event files.
        corpus: the piece is in the key, the metre and the grid of one of its pieces, as `data.load` has them. None: the
            model is told nothing of it, and each frame is shown and played as a quarter.
        every: of so many validations one has a piece.
        seed: of the piece.

    Raises:
        ValueError: if `every` is below 1.
    """

    def __init__(self, log_dir: str | os.PathLike, corpus: Corpus | None = None, every: int = 1, seed: int = 0):
        super().__init__()
        if every < 1:
            raise ValueError(f"Of at least one validation one has a piece. Received: every={every}")
        self.log_dir = log_dir
        self.shift = corpus.sounding_shift if corpus else 0
        self.every = every
        self.seed = seed
        self.setting = settings.draw(settings.of_corpus(corpus), 1, seed)[0] if corpus else None
        self.validations = 0

    def on_train_begin(self, logs=None):
        """Open the event file."""
        self.writer = tf.summary.create_file_writer(os.fspath(self.log_dir))

    def on_epoch_end(self, epoch, logs=None):
        """Let the model write, where the epoch was validated."""
        if not any(name.startswith("val_") for name in logs or {}):
            return
        self.validations += 1
        if (self.validations - 1) % self.every:
            return
        score = samples.score(self._piece(), self.model.frame.labelled, self.shift)
        with self.writer.as_default(epoch):
            picture = tf.io.decode_png(render.png(score, DOTS_PER_INCH), channels=3)
            tf.summary.image("pianoroll", picture[None])
            if len(score.notes):  # Of silence there is nothing to hear.
                sound = synthesis.synthesize(score)[::THINNED, None]
                tf.summary.audio("sound", sound[None], synthesis.RATE // THINNED, encoding="wav")
        self.writer.flush()

    def on_train_end(self, logs=None):
        """Close the event file."""
        self.writer.close()

    def _piece(self):
        """What the model writes, as a corpus has it."""
        if self.setting:
            length = max(1, round(QUARTERS / self.setting.timestep))
            return samples.compose(self.model, [self.setting], [length], seed=self.seed)[0]
        music = samples.as_in_a_corpus(self.model.frame, self.model.generate(1, QUARTERS, seed=self.seed))
        return {name: array[0] for name, array in music.items()} | settings.features(UNTOLD, QUARTERS)
