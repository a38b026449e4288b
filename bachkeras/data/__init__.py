"""From a corpus to batches. Importing this package loads no TensorFlow: the builder's worker processes import it."""

from bachkeras._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Corpus": "bachkeras.data.pipeline",
        "from_arrays": "bachkeras.data.pipeline",
        "load": "bachkeras.data.catalog",
    },
)
