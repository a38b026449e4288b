"""What a corpus holds, in lines for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction

from bachkeras.data import catalog, splits
from bachkeras.data.pipeline import UNKNOWN, Corpus
from bachkeras.music.score import MINOR, TONICS


def describe(name: str, corpora: Mapping[str, Corpus], metadata: Mapping[str, int]) -> Iterator[str]:
    """Lines on a corpus: sizes, timesteps, polyphony, keys, losses, leak, and the digest of its examples.

    Args:
        name: of the corpus.
        corpora: its splits.
        metadata: what its builder counted.
    """
    for split, corpus in corpora.items():
        notes = sum(int(piece["pianoroll"].sum()) for piece in corpus.pieces)
        yield (
            f"{split}: {len(corpus)} pieces, {corpus.frames} frames, {notes / corpus.frames:.2f} notes a frame, "
            f"at most {corpus.polyphony}"
        )
    pieces = [piece for corpus in corpora.values() for piece in corpus.pieces]
    steps = Counter(Fraction(*map(int, piece["timestep"])) for piece in pieces)
    yield "timestep in quarters: " + _counts(steps)
    yield "keys: " + _counts(Counter(_key(piece) for piece in pieces))
    if "vanished" in metadata:
        yield (
            f"lost on the grid: {metadata['vanished']} of {metadata['notes']} notes vanish between two frames, "
            f"{metadata['moved']} start late; cleaning cut {metadata['cut']} of {metadata['frames']} frames"
        )
    rolls = {split: [piece["pianoroll"] for piece in corpora[split].pieces] for split in ("train", "test")}
    leak = splits.shared_tunes(rolls["train"], rolls["test"])
    text = f"leak: {len(leak)} of {len(rolls['test'])} test pieces share {splits.SHARED_RUN} melody notes in a row"
    yield f"{text} with a training piece, as their own grids have them"
    if name in splits.BENCHMARKS:
        clean = splits.published_clean(name, (piece["id"] for piece in corpora["test"].pieces))
        shared = len(set(clean) & set(leak.tolist()))
        yield f"published as clean: {len(clean)} test pieces; {shared} of them are among those {len(leak)}"
    yield f"sha256: {catalog.digest(list(corpora.values()))}"


def _counts(counter: Counter) -> str:
    return ", ".join(f"{value} × {count}" for value, count in counter.most_common())


def _key(piece: Mapping) -> str:
    if int(piece["tonic"]) == UNKNOWN["tonic"]:
        return "unknown"
    tonic = TONICS[int(piece["tonic"])]
    if int(piece["mode"]) == UNKNOWN["mode"]:
        return f"{tonic}, mode unknown"
    return f"{tonic.lower()} minor" if int(piece["mode"]) == MINOR else f"{tonic} major"
