"""The settings, the sources they are read from, and the rules for URLs."""
