"""The models. Importing this package registers them, so that `keras.saving.load_model` knows them."""

from bachkeras.layers.frame import ChainedVoices, IndependentNotes
from bachkeras.models.hierarchical_vae import HierarchicalVAE
from bachkeras.models.lstm_attention import LSTMAttention
from bachkeras.models.lstm_vae import LSTMVAE

__all__ = ["LSTMVAE", "ChainedVoices", "HierarchicalVAE", "IndependentNotes", "LSTMAttention"]
