"""The models that clients can ask: their table, their fallbacks, and models in Python."""
