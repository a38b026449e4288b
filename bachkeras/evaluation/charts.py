"""Pictures of figures: curves of a training, shares beside Bach's, attention. Each is the bytes of a PNG file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from bachkeras.music.render import encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACH, MODEL = "#8A7A5C", "#28509E"
"""Colours of Bach and of what is compared with him."""

HEADS = ("#28509E", "#C8321E", "#22A884", "#F0B000", "#CC79A7", "#56B4E9", "#777777", "#222222")
"""Colours of the heads of an attention; a ninth head has the first one again."""

OCTAVE = 12
"""Larger intervals share a bar."""

MOST_DURATIONS = 10
"""Rarer ones share a bar."""

_DOTS_PER_INCH = 150
_SIZE = (5.2, 2.9)  # inches
_HEAD_WIDTH, _HEAD_HEIGHT, _HEADS_IN_ROW = 2.5, 2.7, 4  # inches
_TEXT, _LINE, _GRID = "#333333", "#8C8C8C", "#E6E6E6"


def curves(epochs: Sequence[float], training: Sequence[float | None], validation: Sequence[float | None]) -> bytes:
    """A quantity by epoch, in training and on the validation split; missing values are passed over.

    Args:
        epochs: numbers of the epochs, from 0.
        training: a value an epoch, or nothing.
        validation: a value an epoch, or nothing.
    """
    figure, axes = _axes("Epoch")
    for values, colour, name in ((training, _LINE, "training"), (validation, MODEL, "validation")):
        known = [(epoch + 1, value) for epoch, value in zip(epochs, values, strict=False) if _is_number(value)]
        if known:
            marker = "o" if len(known) < 3 else ""
            axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.6, marker=marker, markersize=4, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes)
    return encode(figure)


def intervals(samples: Mapping[int, float], bach: Mapping[int, float] | None = None) -> bytes:
    """Shares of melodic intervals in semitones, beside Bach's where they are given."""
    steps = range(-OCTAVE, OCTAVE + 1)
    names = (f"{step:+d}".replace("-", "−") if step else "0" for step in steps)
    named = [name if step % 5 == 0 else "" for step, name in zip(steps, names, strict=True)]
    labels = [f"<−{OCTAVE}", *named, f">{OCTAVE}"]

    def heights(shares: Mapping[int, float]) -> np.ndarray:
        sums = np.zeros(len(labels))
        for step, share in shares.items():
            sums[min(max(int(step), -OCTAVE - 1), OCTAVE + 1) + OCTAVE + 1] += share
        return sums

    return _bars("Interval in semitones", labels, heights(samples), None if bach is None else heights(bach))


def durations(samples: Mapping[float, float], bach: Mapping[float, float] | None = None) -> bytes:
    """Shares of durations in quarter lengths, beside Bach's where they are given."""
    most = {length: max(share, (bach or {}).get(length, 0)) for length, share in {**(bach or {}), **samples}.items()}
    shown = sorted(sorted(most, key=lambda length: (-most[length], length))[:MOST_DURATIONS])
    rest = len(shown) < len(most)

    def heights(shares: Mapping[float, float]) -> np.ndarray:
        named = [shares.get(length, 0) for length in shown]
        return np.array([*named, sum(shares.values()) - sum(named)] if rest else named)

    labels = [str(Fraction(length).limit_denominator(96)) for length in shown] + ["others"] * rest
    return _bars("Duration in quarters", labels, heights(samples), None if bach is None else heights(bach))


def attention(weights: np.ndarray) -> bytes:
    """Where each head of an attention looks: a matrix a head, and the mean weight by distance of all heads.

    Args:
        weights: float `(heads, time, time)`, row = the frame that looks, column = the frame seen.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    back = _back(weights)
    heads = len(back)
    rows, columns = math.ceil(heads / _HEADS_IN_ROW), min(heads, _HEADS_IN_ROW)
    size = (_HEAD_WIDTH * _HEADS_IN_ROW, _HEAD_HEIGHT * rows)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, facecolor="white", layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[heads:]:
        panel.set_visible(False)
    norm = PowerNorm(0.5, 0, np.nanmax(back))  # Most weights are small.
    for i, (panel, head) in enumerate(zip(panels.flat, back, strict=False)):
        image = panel.imshow(head, cmap="magma_r", norm=norm, aspect="auto", interpolation="nearest")
        panel.set_title(f"Head {i + 1}", fontsize=9, color=_TEXT)
        panel.tick_params(labelsize=8, labelcolor=_TEXT, color=_LINE)
        panel.set_facecolor(_GRID)  # Before the first frame there is nothing to see.
    bar = figure.colorbar(image, ax=panels, pad=0.01, aspect=30)
    bar.ax.tick_params(labelsize=8, labelcolor=_TEXT)
    figure.supxlabel("Frames back", fontsize=9, color=_TEXT)
    figure.supylabel("Frame that looks", fontsize=9, color=_TEXT)
    return encode(figure)


def reach(weights: np.ndarray) -> bytes:
    """Mean weight by distance, a line for each head of an attention; see `attention`."""
    back = _back(weights)
    figure, axes = _axes("Frames back")
    for i, head in enumerate(back):
        axes.plot(np.nanmean(head, axis=0), color=HEADS[i % len(HEADS)], linewidth=1.4, label=f"head {i + 1}")
    axes.set_yscale("symlog", linthresh=0.01)
    axes.yaxis.set_major_formatter(_percent)
    _legend(axes)
    return encode(figure)


def _back(weights: np.ndarray) -> np.ndarray:
    """Weights by distance, float `(heads, time, distances)`, up to the last one with weight; NaN before the piece."""
    heads, time, _ = weights.shape
    back = np.full((heads, time, time), np.nan)
    for distance in range(time):
        back[:, distance:, distance] = np.diagonal(weights, -distance, 1, 2)
    used = np.flatnonzero(np.nan_to_num(back).max(axis=(0, 1)) > 0)
    return back[:, :, : int(used.max(initial=0)) + 1]


def _axes(label: str) -> tuple[Figure, Axes]:
    """An empty chart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DOTS_PER_INCH, facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
    axes.tick_params(labelsize=8.5, labelcolor=_TEXT, color=_LINE)
    axes.set_xlabel(label, fontsize=9, color=_TEXT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(label: str, names: Sequence[str], samples: np.ndarray, bach: np.ndarray | None) -> bytes:
    figure, axes = _axes(label)
    places = np.arange(len(names))
    if bach is None:
        axes.bar(places, samples, 0.8, color=BACH)
    else:
        axes.bar(places - 0.2, bach, 0.4, color=BACH, label="Bach")
        axes.bar(places + 0.2, samples, 0.4, color=MODEL, label="samples")
        _legend(axes)
    axes.set_xticks(places, names)
    axes.yaxis.get_major_locator().set_params(nbins=5, steps=(1, 2, 5, 10))
    axes.yaxis.set_major_formatter(_percent)
    return encode(figure)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8.5, labelcolor=_TEXT, frameon=False, handlelength=1.3)


def _percent(share: float, _: int) -> str:
    return f"{100 * share:.3g}%"


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
