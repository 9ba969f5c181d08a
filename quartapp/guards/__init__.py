"""What a request must pass before a model is asked; each guard raises ChatError or returns."""
