"""The instruments of General MIDI: `program` finds the number of one by its name."""

from __future__ import annotations

import difflib

_LISTED = 8  # How many names an error lists.

NAMES = (
    # Piano.
    *("acoustic grand piano", "bright acoustic piano", "electric grand piano", "honky-tonk piano"),
    *("electric piano 1", "electric piano 2", "harpsichord", "clavi"),
    # Chromatic percussion.
    *("celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone", "tubular bells", "dulcimer"),
    # Organ.
    *("drawbar organ", "percussive organ", "rock organ", "church organ"),
    *("reed organ", "accordion", "harmonica", "tango accordion"),
    # Guitar.
    *("acoustic guitar (nylon)", "acoustic guitar (steel)", "electric guitar (jazz)", "electric guitar (clean)"),
    *("electric guitar (muted)", "overdriven guitar", "distortion guitar", "guitar harmonics"),
    # Bass.
    *("acoustic bass", "electric bass (finger)", "electric bass (pick)", "fretless bass"),
    *("slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2"),
    # Strings.
    *("violin", "viola", "cello", "contrabass"),
    *("tremolo strings", "pizzicato strings", "orchestral harp", "timpani"),
    # Ensemble.
    *("string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2"),
    *("choir aahs", "voice oohs", "synth voice", "orchestra hit"),
    # Brass.
    *("trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section", "synth brass 1", "synth brass 2"),
    # Reed.
    *("soprano sax", "alto sax", "tenor sax", "baritone sax", "oboe", "english horn", "bassoon", "clarinet"),
    # Pipe.
    *("piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle", "ocarina"),
    # Synth lead.
    *("lead 1 (square)", "lead 2 (sawtooth)", "lead 3 (calliope)", "lead 4 (chiff)"),
    *("lead 5 (charang)", "lead 6 (voice)", "lead 7 (fifths)", "lead 8 (bass + lead)"),
    # Synth pad.
    *("pad 1 (new age)", "pad 2 (warm)", "pad 3 (polysynth)", "pad 4 (choir)"),
    *("pad 5 (bowed)", "pad 6 (metallic)", "pad 7 (halo)", "pad 8 (sweep)"),
    # Synth effects.
    *("fx 1 (rain)", "fx 2 (soundtrack)", "fx 3 (crystal)", "fx 4 (atmosphere)"),
    *("fx 5 (brightness)", "fx 6 (goblins)", "fx 7 (echoes)", "fx 8 (sci-fi)"),
    # Ethnic.
    *("sitar", "banjo", "shamisen", "koto", "kalimba", "bag pipe", "fiddle", "shanai"),
    # Percussive.
    *("tinkle bell", "agogo", "steel drums", "woodblock", "taiko drum", "melodic tom", "synth drum", "reverse cymbal"),
    # Sound effects.
    *("guitar fret noise", "breath noise", "seashore", "bird tweet"),
    *("telephone ring", "helicopter", "applause", "gunshot"),
)
"""The 128 instruments by program number; each line of eight, or two of four, is a family."""


def program(text: str) -> int:
    """The program number 0..127 of an instrument.

    Args:
        text: a number, or a name or a part of it that no other name has; case does not matter.

    Raises:
        ValueError: if it is no number up to 127 and no name, or part of several names.
    """
    name = text.strip().lower()
    if name.isdecimal() and int(name) < len(NAMES):
        return int(name)
    if name in NAMES:
        return NAMES.index(name)
    matches = [other for other in NAMES if name in other]
    if len(matches) == 1:
        return NAMES.index(matches[0])
    if matches:
        listed = ", ".join(matches[:_LISTED]) + (" and others" if len(matches) > _LISTED else "")
        raise ValueError(f"Several instruments are called so: {listed}. Received: instrument={text!r}")
    close = ", ".join(difflib.get_close_matches(name, NAMES))
    hint = f", perhaps {close}" if close else ""
    raise ValueError(
        f"An instrument is a name of General MIDI{hint}, or its number 0..127. Received: instrument={text!r}"
    )
