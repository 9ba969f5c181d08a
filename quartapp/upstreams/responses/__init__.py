"""Servers that offer OpenAI's Responses API."""
