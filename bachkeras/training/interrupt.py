"""Ctrl-C while a model trains: where it may break in, and where it waits."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Ctrl-C and a plain `kill` raise KeyboardInterrupt, in a background job too, which is started deaf to Ctrl-C."""
    with _handled(signal.default_int_handler):
        yield


@contextlib.contextmanager
def held() -> Iterator[None]:
    """An interruption waits until the block is through, so that what belongs together is written together."""
    waiting = []
    try:
        with _handled(lambda number, frame: waiting.append(number)):
            yield
    finally:
        for number in waiting[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def _handled(handler: Callable) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python hands signals to the main thread alone.
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
