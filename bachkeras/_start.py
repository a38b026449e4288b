"""TensorFlow as the command line starts it: without its start-up notes, with threads that suit recurrent networks."""

from __future__ import annotations

import os
import tempfile


def tensorflow() -> None:
    """Import TensorFlow and let it find its devices.

    Its notes on oneDNN and CUDA come from C++ and some heed no setting, so standard error is held back for these
    seconds; it is shown where the start fails. An operation runs on one thread, several side by side: a step of an
    LSTM is too small to be shared out (on two cores training is about three times as fast). `TF_NUM_INTRAOP_THREADS`
    overrides that.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
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
