"""Pictures of scores: `picture` draws a piano roll into a PNG file, `png` into memory."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bachkeras import _files as files
from bachkeras.music.bars import Bar, bars
from bachkeras.music.score import Meter, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#C8321E", "#F0B000", "#22A884", "#28509E", "#CC79A7", "#56B4E9", "#777777", "#222222")
"""Colours of the parts in their order; a ninth part has the first one again. Soprano to bass go from warm to cold.

Any two of the first four are at least 33 apart in CIELAB, also as the colour-blind see them (Machado et al. 2009).
"""

ALONE = COLOURS[3]
"""The colour of a part that is the only one."""

SYSTEM_QUARTERS = 32
"""So much music is in a system, a row of the picture, or a little more: eight bars of 4/4."""

MOST_SYSTEMS = 16
"""A piece too long for so many has longer systems instead of more of them."""

DOTS_PER_INCH = 160

# Inches.
_WIDTH, _LEFT, _RIGHT, _BOTTOM = 10.0, 0.78, 0.12, 0.34
_TITLE, _LEGEND, _ABOVE, _BETWEEN = 0.38, 0.26, 0.1, 0.4
_SEMITONE = 0.088

_LEGEND_COLUMNS = 6
_LEAST_RANGE = 24  # semitones
_LEAST_QUARTERS = 8  # over the whole width
_MOST_NUMBERS = 20  # in a system
_BLACK_KEYS = (1, 3, 6, 8, 10)
_TEXT, _FAINT, _LINE, _ROW = "#333333", "#DCDCDC", "#8C8C8C", "#F4F4F4"


class _System(NamedTuple):
    bars: Sequence[Bar]
    start: float  # quarters
    end: float


class _Notes(NamedTuple):
    """The notes of a score as boxes, arrays of one length; time in quarters, pitch in semitones."""

    start: np.ndarray
    end: np.ndarray
    bottom: np.ndarray
    height: np.ndarray
    part: np.ndarray


def picture(path: str | os.PathLike, score: Score) -> None:
    """Draws a score as a piano roll, a PNG file; see `png`.

    Args:
        path: the file, replaced as a whole: it is never half-written.
        score: what to draw.

    Raises:
        OSError: if the file cannot be written.
    """
    files.replace(path, png(score))


def png(score: Score, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """A score as a piano roll, ten inches wide; the same score is the same bytes.

    Time goes to the right, in systems of about eight bars; there is a line for each bar and a fainter one for each
    beat. Bars are numbered, an upbeat is not; without a meter the quarters are. Each part has a colour. A note is a box
    with a white edge, so that a repeated note is told from a held one; where parts meet on a pitch they share its
    height, the first one on top.

    Args:
        score: what to draw.
        dots_per_inch: of the picture.
    """
    return encode(_draw(score, dots_per_inch))


def encode(figure: Figure) -> bytes:
    """A figure as a PNG without date and version."""
    # Not by pyplot, which keeps every figure and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that the font has not, as in a Chinese title, is a box.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def _draw(score: Score, dots_per_inch: int) -> Figure:
    from matplotlib.figure import Figure

    systems, notes, (low, high) = _systems(score), _boxes(score), _range(score)
    legend_rows = math.ceil(len(score.parts) / _LEGEND_COLUMNS) if len(score.parts) > 1 else 0
    head = _ABOVE + (_TITLE if score.title else 0) + _LEGEND * legend_rows
    row = (high - low) * _SEMITONE
    height = head + len(systems) * (row + _BETWEEN) - _BETWEEN + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), dpi=dots_per_inch, facecolor="white")
    _draw_head(figure, score, legend_rows)
    middle = 1 - (head + row / 2) / height
    figure.text(
        0.018, middle, "Pitch (C4: middle C, MIDI 60)", size=8.5, color=_TEXT, rotation=90, ha="center", va="center"
    )
    longest = max(_LEAST_QUARTERS, *(system.end - system.start for system in systems))
    for i, system in enumerate(systems):
        width = (_WIDTH - _LEFT - _RIGHT) * (system.end - system.start) / longest
        bottom = height - head - row - i * (row + _BETWEEN)
        axes = figure.add_axes((_LEFT / _WIDTH, bottom / height, width / _WIDTH, row / height), facecolor="white")
        axes.set(xlim=(system.start, system.end), ylim=(low, high))
        _draw_pitches(axes, low, high)
        _draw_bars(axes, system, metric=bool(score.meters))
        _draw_notes(axes, system, notes, COLOURS if len(score.parts) > 1 else (ALONE,))
    return figure


def _systems(score: Score) -> list[_System]:
    """The bars in rows of equally many, an upbeat before the first ones; without a meter each quarter is a bar."""
    every = bars(score if score.meters else dataclasses.replace(score, meters=(Meter(0, 1, 4),), upbeat=0))
    quarters = float(every[-1].end)
    rows = min(math.ceil(quarters / SYSTEM_QUARTERS), MOST_SYSTEMS)
    count = math.ceil(every[-1].number / rows) or 1
    groups = [[bar for bar in every if max(bar.number - 1, 0) // count == i] for i in range(rows)]
    return [_System(group, float(group[0].start), float(group[-1].end)) for group in groups if group]


def _range(score: Score) -> tuple[float, float]:
    """The lowest and highest edge of the picture, in MIDI pitches; each pitch is half a semitone around its number."""
    pitch = score.notes["pitch"].astype(int)
    low, high = (pitch.min() - 1, pitch.max() + 1) if len(pitch) else (60, 60)
    more = max(_LEAST_RANGE - (high - low), 0)
    return low - more // 2 - 0.5, high + more - more // 2 + 0.5


def _boxes(score: Score) -> _Notes:
    """Where each note is drawn: over a lower part's, a higher part on the same pitch keeps its share of the height."""
    notes = score.notes
    others: list[set[int]] = [set() for _ in notes]  # the other parts that meet each note
    sounding: dict[int, list[tuple[int, int, int]]] = {}  # by pitch: index, end, part
    for i, (start, end, pitch, part) in enumerate(notes.tolist()):
        meeting = [other for other in sounding.get(pitch, []) if other[1] > start]
        for j, _, other in meeting:
            if other != part:
                others[i].add(other)
                others[j].add(part)
        sounding[pitch] = [*meeting, (i, end, part)]
    count = np.array([len(parts) for parts in others]) + 1
    above = np.array([sum(other < part for other in parts) for parts, part in zip(others, notes["part"], strict=True)])
    return _Notes(
        start=notes["start"] / score.ticks_per_quarter,
        end=notes["end"] / score.ticks_per_quarter,
        bottom=notes["pitch"] - 0.5,
        height=(count - above) / count,
        part=notes["part"],
    )


def _draw_head(figure: Figure, score: Score, legend_rows: int) -> None:
    """Title and names of the parts."""
    from matplotlib.patches import Patch

    _, height = figure.get_size_inches()
    left, top = _LEFT / _WIDTH, 1 - _ABOVE / height
    if score.title:
        title = textwrap.shorten(score.title, 80, placeholder=" …")
        # parse_math: a dollar sign in a name is no formula.
        figure.text(left, top, title, size=13, weight="bold", color=_TEXT, va="top", parse_math=False)
    if legend_rows:
        names = [textwrap.shorten(name, 24, placeholder=" …") for name in score.parts]
        names = [name or f"Part {i}" for i, name in enumerate(names, 1)]
        patches = [Patch(color=COLOURS[i % len(COLOURS)]) for i in range(len(names))]
        place = (left, top - (_TITLE / height if score.title else 0))
        style = {"frameon": False, "borderpad": 0, "borderaxespad": 0, "handlelength": 1.3, "handleheight": 0.7}
        columns = min(len(names), _LEGEND_COLUMNS)
        legend = figure.legend(
            patches,
            names,
            loc="upper left",
            bbox_to_anchor=place,
            ncols=columns,
            fontsize=9.5,
            labelcolor=_TEXT,
            **style,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _draw_pitches(axes: Axes, low: float, high: float) -> None:
    """Rows as on a keyboard: black keys are shaded, a line is below each C, C and G have their names."""
    pitches = range(math.ceil(low), math.ceil(high))
    for pitch in pitches:
        if pitch % 12 in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=_ROW, linewidth=0, zorder=0)
        if pitch % 12 == 0:
            axes.axhline(pitch - 0.5, color=_LINE, linewidth=0.6, zorder=1)
    named = [pitch for pitch in pitches if pitch % 12 in (0, 7)]
    axes.set_yticks(named, [f"{'C' if pitch % 12 == 0 else 'G'}{pitch // 12 - 1}" for pitch in named])
    axes.tick_params("y", length=0, labelsize=8.5, labelcolor=_TEXT, pad=4)
    axes.spines[:].set_visible(False)


def _draw_bars(axes: Axes, system: _System, metric: bool) -> None:
    """Bar lines, beats and numbers; of many bars every fourth has its number, of very many every 16th ..."""
    step = 1
    while len(system.bars) / step > _MOST_NUMBERS:
        step *= 4
    if step == 1:
        beats = [float(beat) for bar in system.bars for beat in bar.beats]
        axes.vlines(beats, *axes.get_ylim(), color=_FAINT, linewidth=0.6, zorder=1)
    numbered = [bar for bar in system.bars if bar.number % step == 1 % step and bar.number > 0]
    lines = [float(bar.start) for bar in system.bars] + [system.end]
    # Nothing is as dark as a bar line that is none: not where an upbeat begins, nor between quarters.
    colours = [_LINE if metric and bar in numbered else _FAINT for bar in system.bars] + [_LINE if metric else _FAINT]
    axes.vlines(lines, *axes.get_ylim(), color=colours, linewidth=0.9, zorder=1, clip_on=False)
    axes.set_xticks([float(bar.start) for bar in numbered], [str(bar.number) for bar in numbered])
    axes.tick_params("x", length=0, labelsize=8.5, labelcolor=_TEXT, pad=3)
    name = "Bar" if metric else "Quarter"
    corner = {"xy": (0, 0), "xycoords": "axes fraction", "xytext": (-9, -3), "textcoords": "offset points"}
    axes.annotate(name, **corner, size=8.5, color=_TEXT, ha="right", va="top")


def _draw_notes(axes: Axes, system: _System, notes: _Notes, colours: Sequence[str]) -> None:
    here = (notes.start < system.end) & (notes.end > system.start)
    for part in np.unique(notes.part[here]).tolist():  # The first part lies lowest.
        start, end, bottom, height, _ = (column[here & (notes.part == part)] for column in notes)
        box = {"color": colours[part % len(colours)], "edgecolor": "white", "linewidth": 0.9}
        axes.barh(bottom, end - start, height, start, align="edge", zorder=2 + part, **box)
