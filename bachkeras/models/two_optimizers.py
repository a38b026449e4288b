"""A model of two parts that are trained by an optimizer each."""

from __future__ import annotations

from typing import ClassVar

import keras

from bachkeras.models.base import FrameModel


class TwoOptimizers(FrameModel):
    """A model whose second part has an optimizer of its own, which is saved and loaded with it.

    Attributes:
        second_optimizer: the attribute that holds it.
    """

    second_optimizer: ClassVar[str]

    def compile(self, optimizer="adam", second_optimizer=None, **kwargs):
        """Set both optimizers; the second is by default one like the first.

        Args:
            optimizer: of the first part.
            second_optimizer: of the second part; also by the name of the attribute.
            **kwargs: see Keras.
        """
        self.ensure_built()  # Keras builds what `call` needs, and a training step does not call it.
        second = kwargs.pop(self.second_optimizer, second_optimizer)
        super().compile(optimizer=optimizer, **kwargs)
        like = keras.saving.serialize_keras_object(self.optimizer)
        second = keras.saving.deserialize_keras_object(like) if second is None else second
        setattr(self, self.second_optimizer, keras.optimizers.get(second))
        self.build_optimizers()

    def get_compile_config(self):
        """Both optimizers."""
        if not self.compiled:
            return None
        both = {name: getattr(self, name) for name in ("optimizer", self.second_optimizer)}
        return {name: keras.saving.serialize_keras_object(optimizer) for name, optimizer in both.items()}

    def compile_from_config(self, config):
        """Both optimizers, with their variables."""
        self.compile(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})
