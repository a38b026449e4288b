"""The models. Importing this package registers them, so that `keras.saving.load_model` knows them."""

from bachkeras.layers.frame import ChainedVoices, IndependentNotes
from bachkeras.models.lstm_attention import LSTMAttention

__all__ = ["ChainedVoices", "IndependentNotes", "LSTMAttention"]
