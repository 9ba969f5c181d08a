"""OpenAI's chat completions, as clients use them at `/v1`."""
