"""Connections to model servers, and the conversion of their APIs."""
