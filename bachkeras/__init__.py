"""Keras models that learn to write music in the style of Bach.

Importing the package loads no TensorFlow; the first use of a name below does.
"""

from bachkeras._lazy import lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "data": "bachkeras.data",
        "models": "bachkeras.models",
        "music": "bachkeras.music",
        "load": "bachkeras.training.directory",
        "presets": "bachkeras._presets",
        "TensorBoardSamples": "bachkeras.training.board",
        "compose": "bachkeras.tasks.composing",
        "continue_": "bachkeras.tasks.continuing",
        "harmonize": "bachkeras.tasks.harmonizing",
        "inpaint": "bachkeras.tasks.inpainting",
        "interpolate": "bachkeras.tasks.interpolating",
    },
)
