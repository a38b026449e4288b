"""TensorFlow's start-up notes kept off the terminal, where a user of the command line can do nothing about them."""

from __future__ import annotations

import os
import sys
import tempfile


def start_tensorflow() -> None:
    """Import TensorFlow and let it find its devices, without its notes on oneDNN and CUDA.

    They come from C++ and some heed no setting, so standard error is held back for these seconds; it is shown where
    the start fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_logical_devices()
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    from absl import logging

    logging.set_verbosity(logging.ERROR)
