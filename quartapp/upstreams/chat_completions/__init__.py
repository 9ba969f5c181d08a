"""Servers with OpenAI's chat completions API.

Most servers deviate from OpenAI's format. `strict` decodes OpenAI's format quickly. `loose` decodes every other form
with a clear meaning. A form without one is an error.
"""
