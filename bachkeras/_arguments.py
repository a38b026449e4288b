"""What may stand on a command line: text as values, or argparse's error that says what is wanted."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


def steps(text: str) -> int:
    """A whole number of at least 2."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"a whole number of at least 2, not {text!r}")
    return int(text)


def length(text: str) -> int | str:
    """Frames, or "auto"."""
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f'a number of frames, or "auto", not {text!r}')
    return text if text == "auto" else positive(text)


def names(text: str) -> list[str]:
    """Names between commas."""
    return text.split(",")


def tempo(text: str) -> float:
    """Quarters a minute."""
    try:
        tempo = float(text)
    except ValueError:
        tempo = 0.0
    if not 4 <= tempo <= 1000:
        raise argparse.ArgumentTypeError(f"quarters a minute from 4 to 1000, not {text!r}")
    return tempo


def seed(text: str) -> int:
    """A whole number that NumPy and TensorFlow take for a seed."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 2^31 - 1, not {text!r}")
    return int(text)
