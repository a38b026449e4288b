"""Harmonising, continuing, inpainting: what the user gave stays to the tick, what is new stands where it belongs."""

import itertools
from fractions import Fraction
from types import MappingProxyType

import keras
import numpy as np
import pytest

import bachkeras
from bachkeras import cli
from bachkeras.layers.frame import ChainedVoices
from bachkeras.layers.frame.base import END, FREE
from bachkeras.models import LSTMAttention
from bachkeras.models.base import FrameModel
from bachkeras.music import midi, saving
from bachkeras.music.score import MINOR, NOTE, Key, Meter, Score, Tempo
from bachkeras.music.voices import SATB, to_frames
from bachkeras.tasks import hearing, inpainting
from bachkeras.tasks.hearing import Grid
from bachkeras.training import directory
from bachkeras.training.settings import Setting

CARD = {
    "model": "lstm-attention",
    "config": {"data": {"transpose": 1}},
    "data": {"name": "chorales_16th", "version": "1.0.0"},
    "sounding_shift": 0,
    "mean_length": 5.0,
    "settings": [[Setting(2, MINOR, 1, 4, 16, 0)._asdict(), 3]],
}
"""Sixteenths, in D minor."""


def random_model(frame, **options):
    """A model with random weights and a card."""
    keras.utils.set_random_seed(0)
    model = LSTMAttention(6, layers=1, attention_heads=0, frame=frame, **options)
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.2))
    model.card = MappingProxyType(CARD)
    return model


@pytest.fixture(scope="module")
def singer():
    """Four labelled voices with strokes and an ending."""
    return random_model(ChainedVoices(units=5, reach=3, labelled=True, onsets=True), ending=True)


@pytest.fixture(scope="module")
def pianist():
    """Chords without labels, strokes or an ending."""
    return random_model(ChainedVoices(units=5, reach=3))


@pytest.fixture
def shadow(monkeypatch):
    """What the models are asked; their answer is the highest voice a third, a fifth and an octave lower."""
    asked = []

    def complete(self, given, *, given_onsets, **arguments):
        asked.append({"given": given[0], "onsets": given_onsets[0], **arguments})
        follow = given[..., :1] - np.array([0, 4, 7, 12])
        free = np.where(given[..., :1] == END, END, follow)
        return {"events": np.where(given == FREE, free, given), "onsets": np.repeat(given_onsets[..., :1], 4, -1)}

    monkeypatch.setattr(LSTMAttention, "complete", complete)
    return asked


def score(*notes, parts=None, **values):
    """A score of (start, end, pitch, part) in ticks; the part is 0 where it is left out."""
    rows = [(*note, 0)[:4] for note in notes]
    parts = parts or tuple(f"Part {i + 1}" for i in range(max((row[3] for row in rows), default=0) + 1))
    return Score(np.array(rows, NOTE), parts=parts, **values)


def quarters(score, part=None):
    """Notes as (start, end, pitch) in quarter lengths, of one part or all."""
    notes = score.notes if part is None else score.notes[score.notes["part"] == part]
    tick = Fraction(1, score.ticks_per_quarter)
    return [(start * tick, end * tick, pitch) for start, end, pitch, _ in notes.tolist()]


def line(*lengths, pitches=(72, 74, 71), start=0):
    """Notes on end."""
    ends = (start + np.cumsum(lengths)).tolist()
    return [(a, b, pitches[i % len(pitches)]) for i, (a, b) in enumerate(zip([start, *ends], ends, strict=False))]


MELODIES = {
    "quarters, repeats and a rest": score((0, 480, 72), (480, 960, 72), (1440, 2400, 74)),
    "triplets and odd places": score(*line(160, 160, 160, 113, 7, 360, 480)),
    "upbeat": score(*line(480, 960, 960), upbeat=480, meters=(Meter(0, 4, 4),), keys=(Key(0, 2, MINOR),)),
    "96 ticks": score(*line(32, 32, 32, 36, 12, 48), ticks_per_quarter=96),
    "10 ticks": score(*line(10, 5, 5, 3, 7, 10), ticks_per_quarter=10, meters=(Meter(30, 3, 4),), upbeat=10),
    "1 tick": score(*line(1, 2, 1), ticks_per_quarter=1),
    "high": score(*line(480, 480, pitches=(96, 108))),
    "low": score(*line(480, 480, pitches=(33, 21))),
    "from end to end": score((0, 1920, 40), (1920, 1980, 105)),
    "legato": score((0, 500, 72), (480, 980, 74), (960, 1440, 72)),
    "breaths": score((0, 470, 72), (480, 900, 72), (960, 1200, 74)),
    "one note": score((0, 240, 65)),
    "one short note": score((100, 110, 65)),
    "silence first and last": score(*line(480, 480, start=1200), end=5000, tempos=(Tempo(0, 60.0),)),
}


@pytest.mark.parametrize("melody", MELODIES.values(), ids=MELODIES)
def test_a_melody_stays_as_it_is(singer, melody):
    (found,) = bachkeras.harmonize(melody, singer, particles=2, seed=0)
    assert quarters(found, 0) == quarters(melody)
    assert found.parts == SATB
    tick = Fraction(1, found.ticks_per_quarter)
    begin, end = quarters(melody)[0][0], max(end for _, end, _ in quarters(melody))
    for part in range(1, 4):
        notes = quarters(found, part)
        assert all(begin - Fraction(1, 4) < start < stop <= end for start, stop, _ in notes)
        assert all(before <= after for (_, before, _), (after, _, _) in itertools.pairwise(notes))
    assert found.end * tick == Fraction(melody.end, melody.ticks_per_quarter)
    assert (found.tempos, found.upbeat * tick) == (melody.tempos, Fraction(melody.upbeat, melody.ticks_per_quarter))
    assert found.keys == melody.keys or not melody.keys
    assert [(m.tick * tick, m.numerator) for m in found.meters] == [
        (Fraction(m.tick, melody.ticks_per_quarter), m.numerator) for m in melody.meters
    ]


def test_what_a_melody_sounds_like_to_the_model(singer, shadow):
    """Legato, a breath and a late note make no rest; a longer pause does. The key is told, and the place in the bar."""
    melody = score(
        (480, 730, 72), (720, 930, 72), (990, 1200, 74), (1680, 1920, 71), meters=(Meter(0, 4, 4),), upbeat=480
    )  # fmt: skip
    (found,) = bachkeras.harmonize(melody, singer, key="D minor", particles=7, temperature=0.9, top_p=0.8, seed=3)
    (asked,) = shadow
    soprano = [51, 51, 51, 51, 53, 53, *[END] * 4, 50, 50]
    np.testing.assert_array_equal(asked["given"], np.c_[soprano, np.full((12, 3), FREE)])
    np.testing.assert_array_equal(np.flatnonzero(asked["onsets"][:, 0]), [0, 2, 4, 10])
    told = asked["conditions"]
    assert told["position"].tolist() == [*range(12)]
    assert (told["tonic"], told["mode"], told["timestep"]) == (2, MINOR, 2)
    assert asked["ends"]
    assert (asked["particles"], asked["temperature"], asked["top_p"]) == (7, 0.9, 0.8)
    assert [(start, end) for start, end, _, part in found.notes.tolist() if part == 3] == [
        (480, 720), (720, 960), (960, 1200), (1680, 1920)
    ]  # fmt: skip
    assert found.keys == (Key(0, 2, MINOR),)


@pytest.mark.parametrize(
    ("pitches", "heard", "alto"),
    [
        ((72, 76), (51, 55), (68, 72)),
        ((96, 98), (51, 53), (68, 70)),  # Two octaves too high; the others stay where they can be sung.
        ((38, 40), (53 - 12, 55 - 12), (34, 36)),
        ((21, 23), (48, 50), (29, 31)),  # The bass has no keys four octaves down: all go three.
    ],
)
def test_voices_move_with_a_melody_out_of_range(singer, shadow, pitches, heard, alto):
    (found,) = bachkeras.harmonize(score(*line(480, 480, pitches=pitches)), singer)
    assert set(shadow[0]["given"][:, 0]) == set(heard)
    sung = [found.notes["pitch"][found.notes["part"] == part] for part in range(4)]
    assert [sung[0].tolist(), sung[1].tolist()] == [[*pitches], [*alto]]
    assert [(sung[part] - sung[1]).tolist() for part in (2, 3)] == [[-3, -3], [-8, -8]]


def test_a_melody_among_others(singer):
    chorale = score((0, 480, 72, 0), (0, 480, 60, 1), (480, 960, 74, 0), (480, 960, 59, 1), parts=("Soprano", "Bass"))
    (found,) = bachkeras.harmonize(chorale, singer, melody_voice="soprano", particles=1)
    assert quarters(found, 0) == [(0, 1, 72), (1, 2, 74)]
    with pytest.raises(ValueError, match="chords or several parts: choose"):
        bachkeras.harmonize(chorale, singer)


@pytest.fixture
def echo(monkeypatch):
    """What the models are asked to continue. They hold the last frame, then go up a tone, and hold that."""
    asked = []

    def generate(self, count, length, *, primer, **arguments):
        asked.append({"length": length, **primer, **arguments})
        if self.frame.labelled:
            last = primer["voices"][-1]
            frames = np.stack([last, *[np.where(last == END, END, last + 2)] * 2])
            struck = (np.arange(3) == 1)[:, None] & (frames != END)
            music = {"pianoroll": to_frames(frames), "events": frames, "onsets": struck, "lengths": np.array(3)}
        else:
            last = primer["pianoroll"][-1]
            music = {"pianoroll": np.stack([last, *[np.roll(last, 2)] * 2]), "events": np.zeros(0)}
        return {name: np.repeat(array[None], count, 0) for name, array in music.items()}

    monkeypatch.setattr(LSTMAttention, "generate", generate)
    return asked


DUET = score(
    (0, 240, 72, 0), (240, 485, 74, 0), (0, 490, 50, 1), parts=("Sopran", "Bass"),
    meters=(Meter(0, 3, 4), Meter(240, 2, 4)), upbeat=240, keys=(Key(0, 0, 0), Key(480, 2, 1)),
    tempos=(Tempo(0, 60.0), Tempo(300, 90.0)), title="A duet",
)  # fmt: skip


def test_a_primer_is_left_out(singer, echo):
    """Its end sounds on as new notes; the bar goes on where it was, in the metre, key and tempo that hold there."""
    found, other = bachkeras.continue_(DUET, singer, count=2)
    assert found.notes.tolist() == other.notes.tolist()
    assert found.notes.tolist() == [
        (0, 120, 74, 0), (0, 120, 50, 3), (120, 360, 76, 0), (120, 360, 52, 3)
    ]  # fmt: skip
    assert found.parts == SATB
    assert (found.meters, found.keys) == ((Meter(0, 2, 4),), (Key(0, 2, 1),))
    assert (found.tempos, found.upbeat, found.end, found.title) == ((Tempo(0, 90.0),), 480 + 240, 360, "A duet")
    (asked,) = echo
    assert asked["voices"].tolist() == [[51, END, END, 29]] * 2 + [[53, END, END, 29]] * 2
    assert np.argwhere(asked["voice_onsets"]).tolist() == [[0, 0], [0, 3], [2, 0]]
    assert asked["conditions"]["position"].tolist() == [10, 11, *[*range(8)] * 8, 0, 1]
    assert (asked["length"], asked["until_end"]) == (64, False)
    bachkeras.continue_(DUET, singer, length="auto")
    assert (echo[1]["length"], echo[1]["until_end"]) == (20, True)


def test_a_primer_is_kept(singer, echo):
    """What is held on is longer, the rest is as it was; each voice is in the part that sang it."""
    (found,) = bachkeras.continue_(DUET, singer, keep_primer=True, length=7)
    assert found.notes.tolist() == [
        (0, 240, 72, 0), (0, 600, 50, 1), (240, 600, 74, 0), (600, 840, 76, 0), (600, 840, 52, 1)
    ]  # fmt: skip
    for name in ("parts", "meters", "keys", "tempos", "upbeat", "title", "ticks_per_quarter"):
        assert getattr(found, name) == getattr(DUET, name)
    assert (echo[0]["length"], echo[0]["until_end"]) == (7, False)
    (found,) = bachkeras.continue_(DUET, singer, keep_primer=True, key="D minor")
    assert found.keys == (Key(0, 2, MINOR),)
    assert echo[1]["conditions"]["tonic"] == 2


def test_voices_in_unison_hold_on_each_for_itself(singer, echo):
    """One of them had begun late: it is the one that goes on in its part."""
    primer = score((0, 480, 60, 0), (240, 475, 60, 1), (0, 480, 48, 2), parts=("Alto", "Tenor", "Bass"))
    (found,) = bachkeras.continue_(primer, singer, keep_primer=True)
    assert quarters(found, 0)[0] == (0, Fraction(5, 4), 60)
    assert quarters(found, 1)[0] == (Fraction(1, 2), Fraction(5, 4), 60)


def test_chords_without_labels_are_continued(pianist, echo):
    """In a part of their own beside several; without a metre that holds there is no upbeat."""
    piece = score((0, 480, 72), (0, 480, 60), (240, 480, 50, 1), meters=(Meter(960, 3, 4),))
    (found,) = bachkeras.continue_(piece, pianist, keep_primer=True)
    assert found.notes.tolist() == [
        (0, 600, 72, 0), (0, 600, 60, 0), (240, 600, 50, 1), (600, 840, 74, 2), (600, 840, 62, 2), (600, 840, 52, 2)
    ]  # fmt: skip
    assert found.parts == ("Part 1", "Part 2", "Piano")
    (alone,) = bachkeras.continue_(score(*line(480), parts=("Flute",)), pianist, keep_primer=True)
    assert (alone.parts, quarters(alone)[-1]) == (("Flute",), (Fraction(5, 4), Fraction(7, 4), 74))
    (asked, *_) = echo
    assert np.argwhere(asked["onsets"]).tolist() == [[0, 39], [0, 51], [2, 29]]
    assert (asked["length"], asked["until_end"]) == (64, False)
    (found,) = bachkeras.continue_(piece, pianist)
    assert quarters(found)[:3] == [(0, Fraction(1, 4), pitch) for pitch in (72, 60, 50)]
    assert (found.parts, found.meters, found.upbeat) == (("Piano",), (), 0)


@pytest.mark.parametrize(("kind", "added"), [("singer", ("Alto", "Tenor")), ("pianist", ("Piano",))])
def test_a_model_continues(request, kind, added):
    model = request.getfixturevalue(kind)
    first, second = bachkeras.continue_(DUET, model, count=2, length=9, keep_primer=True, seed=3)
    again, _ = bachkeras.continue_(DUET, model, count=2, length=9, keep_primer=True, seed=3)
    (alone, _) = bachkeras.continue_(DUET, model, count=2, length=9, seed=3)
    assert first.notes.tolist() == again.notes.tolist() != second.notes.tolist()
    assert alone.end == 9 * 120
    assert first.parts == DUET.parts + added
    for found in (first, second):
        kept = found.notes[found.notes["start"] < 480]
        assert kept[["start", "pitch", "part"]].tolist() == DUET.notes[["start", "pitch", "part"]].tolist()
        assert np.all(kept["end"] >= DUET.notes["end"])
    assert np.all(first.notes["start"][3:] >= 480)
    if kind == "singer":
        (ended,) = bachkeras.continue_(DUET, model, length="auto", seed=0)
        assert 0 < ended.end <= 20 * 120


PIANO = score(
    *[(480 * beat, 480 * beat + 480, pitch) for beat in range(13) for pitch in (72 + beat % 3, 64, 60, 48)],
    (1910, 2905, 79), (2400, 2520, 80), (2880, 2890, 20), parts=("Piano",),
    meters=(Meter(0, 4, 4),), upbeat=480, tempos=(Tempo(0, 70.0),), keys=(Key(0, 0, 0),), title="Chords",
)  # fmt: skip


def outside(score, start, end):
    """The notes that do not lie between two times in quarter lengths, sorted."""
    notes = score.notes.tolist()
    tick = Fraction(1, score.ticks_per_quarter)
    return [(a * tick, b * tick, *others) for a, b, *others in notes if a * tick < start or b * tick > end]


def choir(ticks=480):
    """Four parts, an upbeat and 4 bars of 3/4; notes at odd places and, but in the soprano, over bar lines."""
    notes = []
    for part, pitch in enumerate((72, 67, 60, 48)):
        lengths = [1 + Fraction(part, 3), *[Fraction(3, 2), Fraction(2, 3), Fraction(1, 3), Fraction(1, 2)] * 4]
        ends = np.minimum(np.cumsum(lengths), 13)
        times = [round(time * ticks) for time in (0, *ends)]
        notes += [(a, b, pitch + i % 3, part) for i, (a, b) in enumerate(itertools.pairwise(times)) if a < b]
    return score(*notes, parts=SATB, meters=(Meter(0, 3, 4),), upbeat=ticks, ticks_per_quarter=ticks)


@pytest.mark.parametrize("ticks", [480, 96, 10, 7])
@pytest.mark.parametrize("bars", ["1", "2-3", (4, 4), "0-4"])
@pytest.mark.parametrize("voices", [None, ["Alto", "tenor"]], ids=["all", "inner"])
def test_all_outside_the_bars_stays_as_it_is(singer, bars, voices, ticks):
    piece = choir(ticks)
    (found,) = bachkeras.inpaint(piece, bars, singer, voices=voices, particles=2, seed=1)
    first, last = (int(bars[0]), int(bars[-1])) if isinstance(bars, str) else bars
    start, end = max(3 * first - 2, 0), 3 * last + 1
    assert outside(found, start, end) == outside(piece, start, end)
    for part in (0, 3) if voices else ():
        assert quarters(found, part) == quarters(piece, part)
    for part in (1, 2):
        assert quarters(found, part) != quarters(piece, part)
    tick = Fraction(1, found.ticks_per_quarter)
    assert (found.parts, found.end * tick, found.upbeat * tick) == (SATB, Fraction(piece.end, ticks), 1)


def test_what_an_inpainted_passage_sounds_like_to_the_model(singer, shadow):
    """What comes before is the primer; what sounds on into the bar is given, and so is all that follows."""
    piece = choir()
    bachkeras.inpaint(piece, "2", singer, voices=["tenor"], key="D minor", count=2)
    asked, again = shadow
    assert asked["seed"] != again["seed"]
    assert asked["primer"]["voices"].shape == asked["primer"]["voice_onsets"].shape == (16, 4)
    free = np.argwhere(asked["given"] == FREE)
    assert free.tolist() == [[t, 2] for t in range(1, 12)]
    assert asked["given"][0, 2] == 60 - 21  # It began 20 ticks before the bar, and is heard a frame later.
    assert len(asked["given"]) == 4 * 9
    assert asked["ends"]
    assert asked["conditions"]["position"].tolist() == [*range(8, 12), *[*range(12)] * 4]
    assert (asked["conditions"]["tonic"], asked["particles"]) == (2, 128)


def test_a_passage_looks_two_bars_ahead(singer, shadow):
    """Not to the end of a long piece, whose end is not its own. The voices that do not sing stay silent."""
    piece = score(*line(*[480] * 40), meters=(Meter(0, 4, 4),))
    (found,) = bachkeras.inpaint(piece, (3, 3), singer)
    (asked,) = shadow
    assert len(asked["primer"]["voices"]) == 32
    assert asked["given"].shape == (16 + 32, 4)
    assert np.all(asked["given"][:16, 0] == FREE)
    assert np.all(asked["given"][16:, 0] < END)
    assert np.all(asked["given"][:, 1:] == END)
    assert found.parts == piece.parts
    assert not asked["ends"]
    assert len(asked["conditions"]["position"]) == 32 + 48
    assert outside(found, 8, 12) == outside(piece, 8, 12)


def test_chords_of_one_part_are_written_anew(singer):
    """In that part; a chord tone that no voice sings goes where all voices are written, and else stays."""
    (found,) = bachkeras.inpaint(PIANO, "2", singer, particles=2, seed=0)
    assert outside(found, 5, 9) == outside(PIANO, 5, 9)
    assert (0, 0, 20) not in [(0, 0, pitch) for pitch in found.notes["pitch"][found.notes["start"] == 2880]]
    for name in ("parts", "meters", "upbeat", "tempos", "keys", "title", "end"):
        assert getattr(found, name) == getattr(PIANO, name)
    (bass,) = bachkeras.inpaint(PIANO, "2", singer, voices=["bass"], particles=2, seed=0)
    upper = [note for note in PIANO.notes.tolist() if note[2] > 48]
    assert set(upper) <= {*bass.notes.tolist()}
    assert bass.notes.tolist() != PIANO.notes.tolist()


def test_the_same_seed_writes_the_same(singer):
    melody = MELODIES["quarters, repeats and a rest"]
    for task, *given in ((bachkeras.harmonize, melody), (bachkeras.inpaint, choir(), "2")):
        versions = [
            [score.notes.tolist() for score in task(*given, singer, count=count, particles=1, seed=seed)]
            for count, seed in ((2, 0), (3, 0), (2, 1))
        ]
        assert [len(version) for version in versions] == [2, 3, 2]
        assert versions[0] == versions[1][:2]
        assert versions[0][0] != versions[0][1] != versions[2][0]
        assert len(task(*given, singer, particles=1)) == 1


SLEEPER = score((0, 4 * 1920, 60, 0), (0, 1920, 48, 1), meters=(Meter(0, 4, 4),))


@pytest.mark.parametrize(
    ("task", "given", "options", "message"),
    [
        ("inpaint", (choir(), "5"), {}, "The piece has the bars 0 to 4. Received: bars='5-5'"),
        ("inpaint", (choir(), "3-2"), {}, "Received: bars='3-2'"),
        ("inpaint", (choir(), "two"), {}, "Received: bars='two'"),
        ("inpaint", (choir(), "2"), {"voices": ["alto", "viola"]}, "The voices are soprano, alto, tenor, bass."),
        ("inpaint", (choir(), "2"), {"voices": []}, "Received: voices=''"),
        ("inpaint", (SLEEPER, "2"), {"voices": ["tenor"]}, "There is nothing to write"),
        ("inpaint", (choir(), "2"), {"key": "H"}, "Received: key='H'"),
        ("inpaint", (choir(), "2"), {"key": "Ab major"}, "The model was trained in D alone. Received: key='Ab'"),
        ("inpaint", (choir(), "2"), {"count": 0}, "Received: count=0"),
        ("inpaint", (choir(), "2"), {"particles": 0}, "Received: particles=0"),
        ("inpaint", (score(parts=("Alto",)), "1"), {}, "There are no notes (drums do not count)."),
        ("harmonize", (score(parts=("Alto",)),), {}, "There are no notes (drums do not count)."),
        ("inpaint", (choir(), "2"), {"seed": 2**31}, "Received: seed=2147483648"),
        ("harmonize", (PIANO,), {}, "The melody has chords"),
        ("harmonize", (choir(),), {"melody_voice": "viola"}, "There is no such part"),
        ("harmonize", (MELODIES["low"],), {"count": 0}, "Received: count=0"),
        ("harmonize", (MELODIES["low"],), {"temperature": 0.0}, "Received: temperature=0"),
        ("harmonize", (MELODIES["low"],), {"key": "Ab"}, "Received: key='Ab'"),
        ("harmonize", (MELODIES["low"],), {"seed": -1}, "Received: seed=-1"),
        ("continue_", (score(parts=("Alto",)),), {}, "There are no notes (drums do not count)."),
        ("continue_", (choir(),), {"count": 0}, "Received: count=0"),
        ("continue_", (choir(),), {"length": 0}, "Received: count=1, length=0"),
        ("continue_", (choir(),), {"length": "long"}, "Received: length='long'"),
        ("continue_", (choir(),), {"key": "x"}, "Received: key='x'"),
        ("compose", (), {"count": 0}, "Received: count=0"),
        ("compose", (), {"key": "Ab"}, "Received: key='Ab'"),
        ("compose", (), {"seed": -1}, "Received: seed=-1"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(singer, task, given, options, message):
    with pytest.raises(ValueError, match=r"Received: ") as caught:
        getattr(bachkeras, task)(*given, model=singer, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_not_every_model_can(pianist):
    for task, *given in (("harmonize", MELODIES["low"]), ("inpaint", choir(), "2")):
        with pytest.raises(ValueError, match="labelled voices that looks ahead"):
            getattr(bachkeras, task)(*given, pianist)
    with pytest.raises(ValueError, match="not trained to end a piece"):
        bachkeras.continue_(choir(), pianist, length="auto")
    with pytest.raises(ValueError, match="Give a preset, a run directory, or a model"):
        bachkeras.compose(FrameModel())


def test_pieces_are_composed(singer):
    first, second = bachkeras.compose(singer, count=2, length=8, key="Eb minor", seed=0)
    assert first.notes.tolist() != second.notes.tolist()
    assert (first.end, first.parts) == (8 * 120, SATB)
    assert [(key.tonic, key.mode) for key in first.keys] == [(3, MINOR)]
    (again, _) = bachkeras.compose(singer, count=2, length=8, key="Eb minor", seed=0)
    assert again.notes.tolist() == first.notes.tolist()
    assert bachkeras.compose(singer)[0].end <= 20 * 120


def grid(*notes, **values):
    return Grid.over(score(*notes, **values), CARD)


def test_a_grid_is_heard_and_written():
    """What was written is heard as it was: rests, repeats, crossings, unisons."""
    over = grid((1000, 1200, 60), (3000, 3590, 60))
    assert (over.timestep, over.step, over.begin, over.end) == (Fraction(1, 4), 120, 9, 30)
    random = np.random.default_rng(0)
    events = random.choice([40, 41, 42, END], (21, 4))
    onsets = (random.random(events.shape) < 0.5) & (events != END)
    onsets[1:] |= (events[1:] != events[:-1]) & (events[1:] != END)
    onsets[0] = events[0] != END
    notes = over.notes(events, onsets, 9)
    notes = notes[np.argsort(notes["start"], kind="stable")]
    heard = over.columns(notes, notes["part"], 4)
    np.testing.assert_array_equal(heard[0], events)
    np.testing.assert_array_equal(heard[1], onsets)
    assert notes["start"].min() >= 9 * 120


def test_a_grid_hears_what_begins_a_quarter_of_a_frame_late():
    over = grid((30, 150, 60), (151, 271, 62), (300, 310, 64), (480, 600, 65))
    columns, onsets = over.columns(over.score.notes, np.array([0, 0, 0, 1]), 2)
    assert columns[:, 0].tolist() == [39, END, 41, END, END]
    assert columns[:, 1].tolist() == [END, END, END, END, 44]
    assert np.argwhere(onsets).tolist() == [[0, 0], [2, 0], [4, 1]]


def test_a_later_note_of_a_voice_ends_an_earlier_one_and_others_are_not_heard():
    over = grid((0, 480, 60), (120, 240, 62), (0, 480, 109), (0, 480, 20), (0, 480, 70))
    voice = np.array([{60: 0, 62: 0, 109: 1, 20: 1, 70: -1}[pitch] for pitch in over.score.notes["pitch"].tolist()])
    columns, _ = over.columns(over.score.notes, voice, 2)
    assert columns.tolist() == [[39, END], [41, END], [END, END], [END, END]]


def test_a_grid_has_a_timestep_that_the_model_knows():
    card = CARD | {"settings": [[Setting(2, MINOR, 1, n, 4 * n, 0)._asdict(), 1] for n in (1, 4)], "sounding_shift": -3}
    assert Grid.over(score(*line(480, 480)), card).timestep == 1
    assert Grid.over(score(*line(120, 240, 120)), card).timestep == Fraction(1, 4)
    over = Grid.over(score((0, 480, 60)), card)
    assert over.columns(over.score.notes, np.zeros(1, int), 1)[0].tolist() == [[60 + 3 - 21]]
    assert over.notes(np.array([[42]]), None, 2).tolist() == [(960, 1440, 60, 0)]
    assert over.conditions(Key(0, 0, MINOR), 1) == {"timestep": 6, "position": [-1], "tonic": 3, "mode": MINOR}


def test_a_voice_is_at_home_where_it_sang_or_in_a_part_of_its_name():
    """The alto moves from part to part; the tenor has its part and no notes; the bass has neither."""
    piece = score(
        (0, 9, 72, 2), (0, 9, 65, 1), (9, 18, 64, 0), (18, 27, 62, 0), (27, 36, 30, 1), parts=("Oboe", "Tenor", "Flute")
    )  # fmt: skip
    voice = np.array([{72: 0, 65: 1, 64: 1, 62: 1, 30: -1}[pitch] for pitch in piece.notes["pitch"].tolist()])
    new = np.array([0, 1, 3, 2, 3])
    home, parts = hearing.home(piece, voice, 4, new)
    assert (home.tolist(), parts) == ([2, 0, 3, 1, 3], ("Oboe", "Tenor", "Flute", "Bass"))
    home, parts = hearing.home(piece, voice, 4, new[:2])
    assert (home.tolist(), parts) == ([2, 0], piece.parts)
    home, parts = hearing.home(piece, np.where(voice == 0, 1, -1), 2, np.array([1, 0]))
    assert (home.tolist(), parts) == ([2, 3], (*piece.parts, "Voice 1"))


def test_a_folder_of_music(tmp_path):
    pieces = [DUET, MELODIES["legato"]]
    paths = saving.write(tmp_path / "new" / "out", pieces, program=19, as_musicxml=True, as_wav=True)
    names = [f"{number}.{ending}" for number in ("001", "002") for ending in ("mid", "musicxml", "png", "wav")]
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == names
    for path, piece in zip(paths, pieces, strict=True):
        assert path.stat().st_size > 0
        assert quarters(midi.read(path)) == quarters(piece)
    for check in (saving.check, lambda folder: saving.write(folder, pieces)):
        with pytest.raises(ValueError, match="There is music already: choose another folder"):
            check(tmp_path / "new" / "out")
    with pytest.raises(ValueError, match="no folder"):
        saving.check(paths[0])
    saving.check(tmp_path / "new")
    assert [path.name for path in saving.write(tmp_path / "two", pieces[:1])] == ["001.mid"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["001.mid", "001.png"]


@pytest.mark.parametrize("broken", ["midi.write", "musicxml.write"])
def test_all_files_are_there_or_none(tmp_path, monkeypatch, broken):
    """What was there stays there, an empty folder too; no new folder is left."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    module, name = broken.split(".")
    true = getattr(getattr(saving, module), name)
    for folder in ("notes", "empty", "new/and/newer"):
        calls = itertools.count(1)

        def write(*given, calls=calls):
            if next(calls) == 3:
                raise OSError("the disk is full")
            true(*given)

        monkeypatch.setattr(getattr(saving, module), name, write)
        with pytest.raises(OSError, match="the disk is full"):
            saving.write(tmp_path / folder, [DUET] * 4, as_musicxml=True)
        assert next(calls) == 4
        assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    assert len(saving.write(tmp_path / "new" / "and", [DUET] * 3)) == 3


@pytest.fixture
def command(singer, tmp_path, monkeypatch, capfd):
    """A command line over the model and three files: its exit status and its one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(directory, "load", lambda path: singer)
    midi.write("choir.mid", choir())
    midi.write("tune.mid", MELODIES["upbeat"])
    (tmp_path / "broken.mid").write_bytes(b"MThd")

    def run(text):
        status = cli.main(["generate", "--model", "./run", "--seed", "5", *text.split()])
        told = capfd.readouterr()
        return status, told.err if status else told.out

    return run


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("--length 8 --count 2", 2),
        ("--primer choir.mid --length 8 --keep-primer --count 1", 1),
        ("--melody tune.mid --count 1 --tempo 66.5 --key d", 1),
        ("--melody choir.mid --melody-voice top --count 1", 1),
        ("--inpaint choir.mid --bars 2-3 --voices alto,bass --count 1 --instrument 19 --musicxml", 1),
    ],
)
def test_tasks_on_the_command_line(command, text, files, tmp_path):
    status, told = command(f"{text} --out out")
    assert status == 0
    assert told == "Seed 5: " + ", ".join(f"out/00{i + 1}.mid" for i in range(files)) + "\n"
    found = midi.read("out/001.mid")
    if "--melody tune" in text:
        melody = [(start, start + length) for start, length in ((0, 1), (1, 2), (3, 2))]
        assert [(start, end) for start, end, _ in quarters(found, found.parts.index("Soprano"))] == melody
        assert [tempo.quarters_per_minute for tempo in found.tempos] == pytest.approx([66.5], abs=1e-3)
    if "--inpaint" in text:
        assert [(start, end, pitch) for start, end, pitch, _ in outside(found, 4, 10)] == [
            (start, end, pitch) for start, end, pitch, _ in outside(choir(), 4, 10)
        ]
        assert (tmp_path / "out" / "001.musicxml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--bars 2", "--bars goes with --inpaint alone. Received: bars='2'"),
        ("--keep-primer", "--keep-primer goes with --primer alone. Received: keep_primer=True"),
        ("--voices alto", "--voices goes with --inpaint alone. Received: voices=['alto']"),
        ("--melody tune.mid --length 5", "--length goes with new pieces or --primer alone. Received: length=5"),
        ("--melody tune.mid --bars 2", "--bars goes with --inpaint alone."),
        ("--primer tune.mid --melody-voice top", "--melody-voice goes with --melody alone."),
        ("--inpaint tune.mid --bars 2 --length auto", "--length goes with new pieces or --primer alone."),
        ("--inpaint choir.mid", "--inpaint needs the bars to write, as in --bars 5-8. Received: bars=None"),
        ("--inpaint choir.mid --bars 9", "Received: bars='9-9'"),
        ("--inpaint choir.mid --bars 2 --voices alt", "Received: voices='alt'"),
        ("--melody broken.mid", "Cannot read the MIDI file 'broken.mid'"),
        ("--melody nowhere.mid", "Cannot read 'nowhere.mid': No such file"),
        ("--melody tune.txt", "Cannot read 'tune.txt'"),
        ("--melody choir.mid", "The melody has chords or several parts"),
        ("--primer tune.mid --key Ab", "Received: key='Ab'"),
        ("--instrument kazoo", "Received: "),
        ("--top-p 2", "top_p=2.0"),
    ],
)
def test_flags_that_make_no_sense_are_one_line_and_exit_2(command, text, message, tmp_path):
    status, told = command(f"{text} --out out")
    assert status == 2
    assert message in told
    assert told.startswith("bachkeras: ")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["--tempo fast", "--tempo 0", "--count 0", "--primer tune.mid --melody tune.mid"])
def test_flags_that_cannot_be_read_exit_2(command, text, tmp_path):
    with pytest.raises(SystemExit) as caught:
        command(f"{text} --out out")
    assert caught.value.code == 2
    assert not (tmp_path / "out").exists()


def test_a_unison_with_an_old_note_leaves_that_as_long_as_it_was():
    """In one part and on one key, MIDI ends a note where the next one begins."""
    kept = np.array([(0, 960, 60, 0), (0, 480, 55, 0)], NOTE)
    added = np.array([(480, 960, 60, 0), (480, 960, 55, 0), (480, 960, 60, 1)], NOTE)
    np.testing.assert_array_equal(inpainting._doubles(added, kept), [True, False, False])
