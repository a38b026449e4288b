"""What a trained model does for a user: new pieces, continuations, harmonisations, passages written anew."""
