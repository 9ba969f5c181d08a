"""The protocols of clients: a folder for each, with its request, types, encoder and routes."""
