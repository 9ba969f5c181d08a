"""The wire formats that clients use: a folder for each, with its request, types, encoder and routes."""
