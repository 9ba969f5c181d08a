"""Guards: the checks of a request before the model is called. Each guard returns or raises ChatError."""
