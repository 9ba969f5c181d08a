"""The settings: their names, defaults, units and limits, and the loader that finds their values."""
