"""Spelling: whether a key of the piano is written as a D sharp or an E flat.

The line of fifths ... B♭ F C G D A E B F♯ ... holds every name of a tone once: C is 0 here, G is 1, F is -1. A tonality
is a stretch of it, and twelve neighbours are the twelve tones of the octave, each with one name.
"""

from __future__ import annotations

from bachkeras.music.score import MINOR, Key

FLATTEST = {False: -3, True: -5}
"""Where on the line of fifths, from the tonic on, the twelve tones begin, in major (False) and in minor (True).

In C major they are E♭ B♭ F C G D A E B F♯ C♯ G♯, in C minor D♭ A♭ E♭ B♭ F C G D A E B F♯: so leading tones, also those
to the dominant and in minor the raised sixth and seventh, are raised tones. Of each two names the one that Bach's
chorales have more often: in every fourth one of music21's this rule names all but 17 of the 12,616 tones in major as
their file does, and all but 60 of the 11,981 in minor.
"""

_LETTERS = "FCGDAEB"


def signature(key: Key) -> int:
    """The sharps of a key's signature, flats negative: -6 (E♭ minor) to 6 (F♯ major), the fewest that there can be."""
    sharps = 7 * key.tonic - (3 if key.mode == MINOR else 0)
    lowest = -6 if key.mode == MINOR else -5
    return (sharps - lowest) % 12 + lowest


def tonic(key: Key) -> str:
    """The name of a key's tonic: 'C', 'F#', 'Bb'."""
    step, alter = _name(_tonic(key))
    return step + _accidental(alter)


def spell(pitch: int, key: Key | None) -> tuple[str, int, int]:
    """The name of a pitch in a key; the same as in C major where the key is not known.

    Args:
        pitch: MIDI, 60 is C4.
        key: the key in force.

    Returns:
        `(step, alter, octave)`: 60 is ('C', 0, 4), or as the leading tone of C sharp ('B', 1, 3).
    """
    minor = key is not None and key.mode == MINOR
    flattest = FLATTEST[minor] + (_tonic(key) if key else 0)
    step, alter = _name((7 * pitch - flattest) % 12 + flattest)
    return step, alter, (pitch - alter) // 12 - 1


def _tonic(key: Key) -> int:
    """Place of the tonic on the line of fifths; a minor key has the signature of the major one three fifths below."""
    return signature(key) + (3 if key.mode == MINOR else 0)


def _name(place: int) -> tuple[str, int]:
    """Letter and sharps (flats negative) of a place on the line of fifths."""
    return _LETTERS[(place + 1) % 7], (place + 1) // 7


def _accidental(alter: int) -> str:
    return "#" * alter if alter > 0 else "b" * -alter
