"""What music is here: scores, MIDI files, pianorolls and voices. NumPy and mido, no TensorFlow."""

from bachkeras.music.pianoroll import Pianoroll as Pianoroll
from bachkeras.music.score import Score as Score
