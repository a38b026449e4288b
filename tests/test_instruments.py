"""The names of General MIDI's instruments, whole and in part."""

import re

import pytest

from bachkeras.music.instruments import NAMES, program


def test_there_are_128_names_all_different():
    assert len(set(NAMES)) == len(NAMES) == 128
    assert all(name == name.lower() for name in NAMES)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "acoustic grand piano"),
        (6, "harpsichord"),
        (8, "celesta"),
        (16, "drawbar organ"),
        (19, "church organ"),
        (24, "acoustic guitar (nylon)"),
        (32, "acoustic bass"),
        (40, "violin"),
        (48, "string ensemble 1"),
        (52, "choir aahs"),
        (56, "trumpet"),
        (64, "soprano sax"),
        (72, "piccolo"),
        (80, "lead 1 (square)"),
        (88, "pad 1 (new age)"),
        (96, "fx 1 (rain)"),
        (104, "sitar"),
        (112, "tinkle bell"),
        (120, "guitar fret noise"),
        (127, "gunshot"),
    ],
)
def test_each_family_begins_where_general_midi_has_it(number, name):
    assert NAMES[number] == name


def test_every_name_is_its_number():
    assert [program(name) for name in NAMES] == list(range(128))


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 127 ", 127), ("019", 19)])
def test_a_number_is_itself(text, number):
    assert program(text) == number


def test_case_and_spaces_around_a_name_do_not_matter():
    assert program(" Church Organ\n") == 19


@pytest.mark.parametrize(("text", "number"), [("church", 19), ("harpsi", 6), ("oohs", 53), ("Nylon", 24)])
def test_a_part_of_one_name_is_enough(text, number):
    assert program(text) == number


def test_a_whole_name_wins_over_a_part_of_others():
    assert any("trumpet" in name for name in NAMES if name != "trumpet")
    assert program("trumpet") == 56
    assert program("flute") == 73


def test_a_part_of_several_names_lists_them():
    message = (
        "Several instruments are called so: drawbar organ, percussive organ, rock organ, church organ, reed organ. "
        "Received: instrument='Organ'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        program("Organ")


def test_of_many_names_it_lists_a_few():
    with pytest.raises(ValueError, match=r"harpsichord, clavi and others\. Received: instrument=''$") as error:
        program("")
    assert str(error.value).count(",") == 7


def test_a_name_misspelt_is_answered_by_those_near_it():
    message = (
        "An instrument is a name of General MIDI, perhaps violin, viola, or its number 0..127. "
        "Received: instrument='violn'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        program("violn")


@pytest.mark.parametrize("text", ["128", "-1", "1.5", "²", "zzzz"])
def test_what_is_near_no_name(text):
    message = f"An instrument is a name of General MIDI, or its number 0..127. Received: instrument={text!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        program(text)
