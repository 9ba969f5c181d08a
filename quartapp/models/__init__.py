"""The models that clients may name: their table, their fallbacks, and models in Python."""
