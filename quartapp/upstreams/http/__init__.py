"""HTTP connections to model servers."""
