"""Tables of the rows of evaluation.json: a table for what compares, models down, figures across."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bachkeras.evaluation import rows as all_rows
from bachkeras.evaluation.columns import DASH, HIGHER, LOWER, NEAR, PLAIN, SECTIONS, SETTINGS, Column

WIDTH = 110
"""Characters of a line of text; a wider table goes on below."""

_WORDS = {LOWER: "lower", HIGHER: "higher", NEAR: "as Bach", PLAIN: ""}


class Row(NamedTuple):
    """A row of a table: `kind` is "bach", "model" or "reference", `note` the number of its footnote, 0 without one."""

    name: str
    kind: str
    cells: tuple[str, ...]
    note: int


class Group(NamedTuple):
    """A table.

    Attributes:
        title: corpus, grid and rule for voices.
        bach: what its test pieces are called.
        setting: what the rows have in common, a line.
        floors: the divergences of Bach from Bach, a line; '' where they are not known.
        sections: by subject, the columns in which something stands.
        rows: Bach first, then models, then references.
        notes: the footnotes, number 1 first.
    """

    title: str
    bach: str
    setting: str
    floors: str
    sections: dict[str, tuple[Column, ...]]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def columns(self) -> list[Column]:
        """Those of all sections."""
        return [column for columns in self.sections.values() for column in columns]


def bach(data: str, voices: str) -> str:
    """What the test pieces of a table are called."""
    return f"Bach, {data}, {voices}"


def groups(rows: Iterable[Mapping[str, Any]]) -> list[Group]:
    """The tables of some rows of evaluation.json: one for each corpus, grid and rule for voices."""
    found: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(key) for key in ("data", "grid", "voices")), []).append(row)
    return [_group(*key, some) for key, some in found.items()]


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows of evaluation.json as text for a terminal, lines of `WIDTH` characters where names allow it."""
    return "\n\n".join("\n".join(_lines(group)) for group in groups(rows))


def _group(data: Any, grid: Any, voices: Any, rows: Sequence[Mapping[str, Any]]) -> Group:
    rows = sorted(rows, key=lambda row: ("bach", "model", "reference").index(_kind(row)))
    values = {column: {column.show(row.get(column.key)) for row in rows} - {DASH} for column in SETTINGS}
    common = [f"{column.title.lower()} {min(some)}" for column, some in values.items() if len(some) == 1]
    sections = {"Setting": tuple(column for column, some in values.items() if len(some) > 1)}
    for subject, columns in SECTIONS.items():
        sections[subject] = tuple(column for column in columns if any(_says(column, row) for row in rows))
    sections = {subject: columns for subject, columns in sections.items() if columns}
    columns = [column for some in sections.values() for column in some]
    reasons = [_reasons(row.get("notes") or "", columns) for row in rows]
    notes = tuple(dict.fromkeys(filter(None, reasons)))
    shown = (
        Row(
            str(row["model"]),
            _kind(row),
            tuple(column.show(row.get(column.key)) for column in columns),
            notes.index(reason) + 1 if reason else 0,
        )
        for row, reason in zip(rows, reasons, strict=True)
    )
    about = [
        f"{name}{value}" for name, value in (("", data), ("grid ", grid), ("voices ", voices)) if value is not None
    ]
    floors = next((_floors(row["floors"]) for row in rows if row.get("floors")), "")
    return Group(", ".join(about), bach(data, voices), ", ".join(common), floors, sections, tuple(shown), notes)


def _floors(floors: Mapping[str, Mapping[str, float | None]]) -> str:
    """How far Bach is from Bach, of those divergences that are columns."""
    columns = [column for some in SECTIONS.values() for column in some if column.key.removeprefix("js_") in floors]
    found = {column: floors[column.key.removeprefix("js_")] for column in columns}
    told = [f"{c.title.lower()} {c.show(f['mean'])} ({c.show(f['max'])})" for c, f in found.items() if f["mean"]]
    return "as many training pieces from the others, mean (most) of 20 draws: " + ", ".join(told) if told else ""


def _reasons(notes: str, columns: Sequence[Column]) -> str:
    """The notes of a row as a reader of these columns needs them, "TITLE, TITLE: reason; ..."; see `Row.to_dict`."""
    titles = {column.key: column.title for column in columns}
    found = []
    for note in filter(None, notes.split("; ")):
        keys, _, reason = note.partition(": ")
        named = keys.split(", ")
        here = [titles[key] for key in named if key in titles]
        if here:
            found.append(f"{', '.join(here)}: {reason}")
        elif not set(named) <= set(all_rows.KEYS):
            found.append(note)
    return "; ".join(found)


def _kind(row: Mapping[str, Any]) -> str:
    if row["model"] == all_rows.BACH:
        return "bach"
    return "reference" if row["model"] in all_rows.SAMPLERS.values() else "model"


def _says(column: Column, row: Mapping[str, Any]) -> bool:
    """Whether a row is a reason for a column: not Bach, no missing figure, no warning that does not apply."""
    value = row.get(column.key)
    return _kind(row) != "bach" and value is not False and column.show(value) != DASH


def _lines(group: Group) -> Iterator[str]:
    """A group as text: its columns in blocks, each beside the names, then the notes."""
    yield from (line for line in (group.title, group.setting, group.floors and f"noise floors, {group.floors}") if line)
    names = ["", "", "", *(row.name + (f" [{row.note}]" if row.note else "") for row in group.rows)]
    width = max(map(len, names))
    for block in _blocks(group, WIDTH - width):
        yield ""
        yield from (f"{name:<{width}}{''.join(cells)}".rstrip() for name, *cells in zip(names, *block, strict=True))
    if group.notes:
        yield ""
        yield from (f"[{number}] {note}" for number, note in enumerate(group.notes, 1))


def _blocks(group: Group, room: int) -> Iterator[list[list[str]]]:
    """The columns, three lines of head and the cells, each of one width; as many at once as there is room for."""
    block: list[list[str]] = []
    for i, column in enumerate(group.columns):
        lines = [column.title, column.unit, _WORDS[column.good], *(row.cells[i] for row in group.rows)]
        width = max(map(len, lines)) + 2
        if block and sum(len(lines[0]) for lines in block) + width > room:
            yield block
            block = []
        block.append([f"{line:>{width}}" for line in lines])
    yield block
