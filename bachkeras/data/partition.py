"""Who trains on what: pieces shared out to train, validation and test, families of pieces kept together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HELD_OUT = 0.1
"""The share of all frames that validation and test have each, or a little more: families are not cut."""


def by_family(frames: Sequence[int], families: Sequence[int], digests: Sequence[str]) -> list[str]:
    """The split of each piece; a piece that joins the corpus moves few of the others.

    Families go to test or validation until each has its share, and the rest to train: first those that are no larger
    than a share, by their digests, which are as good as chance. The larger ones follow by size, and are held out only
    where nothing else is.

    Args:
        frames: of each piece.
        families: a number for each piece; equal ones are a family. At least three families.
        digests: a hash of each piece's content, hexadecimal.

    Returns:
        "train", "validation" or "test" for each piece; each is there.
    """
    size: dict[int, int] = {}
    digest: dict[int, str] = {}
    for length, family, text in zip(frames, families, digests, strict=True):
        size[family] = size.get(family, 0) + length
        digest[family] = min(digest.get(family, text), text)
    if len(size) < 3:
        raise ValueError(f"Three splits need three families of pieces. Received: {len(size)} families")
    share = HELD_OUT * sum(size.values())
    order = sorted(size, key=lambda family: (max(size[family] - share, 0), digest[family]))
    split, held_out = {}, {"test": 0, "validation": 0}
    for family in order:
        lacking = [name for name, has in held_out.items() if not has or has < share >= size[family]]
        split[family] = "train"
        if lacking and len(split) < len(order):
            chance = ("test", "validation")[int(digest[family], 16) % 2]
            split[family] = min(lacking, key=lambda name, chance=chance: (held_out[name] > 0, name != chance))
            held_out[split[family]] += size[family]
    return [split[family] for family in families]


def in_time(frames: int) -> dict[str, slice]:
    """The frames of each split where a single piece is all there is: its first eight tenths, a tenth, a tenth."""
    first, second = np.ceil(np.array([1 - 2 * HELD_OUT, 1 - HELD_OUT]) * frames).astype(int).tolist()
    return {"train": slice(0, first), "validation": slice(first, second), "test": slice(second, frames)}
