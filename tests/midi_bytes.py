"""MIDI files made from bytes, and files damaged by chance."""

import struct

import numpy as np

END = b"\x00\xff\x2f\x00"


def track(*events):
    """A track chunk of raw events, delta times included."""
    content = b"".join(events)
    return b"MTrk" + struct.pack(">L", len(content)) + content


def header(tracks=1, kind=1, division=480):
    return b"MThd" + struct.pack(">LHHH", 6, kind, tracks, division)


def file_bytes(*tracks, kind=1, division=480):
    """A MIDI file of tracks, each given as its events."""
    return header(len(tracks), kind, division) + b"".join(track(events) for events in tracks)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """The same file with one to eight bytes, or a stretch of them, changed, cut out, doubled or cut off."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 9)):
        place = int(random.integers(len(changed) + 1))
        length = int(random.integers(1, 17))
        match random.integers(6):
            case 0:
                changed[place : place + 1] = random.bytes(1)
            case 1:
                changed[place : place + 1] = bytes([int(random.choice([0, 0x7F, 0x80, 0xF0, 0xF7, 0xFF]))])
            case 2:
                changed[place : place + length] = random.bytes(length)
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length]
            case 5 if random.random() < 0.2:
                del changed[place:]
    return bytes(changed)
