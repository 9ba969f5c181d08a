"""Servers that offer OpenAI's chat completions.

Most servers are odd. `strict` decodes chunks as OpenAI sends them, at speed. `loose` decodes every other form that has
a meaning. A form without a meaning is an error.
"""
