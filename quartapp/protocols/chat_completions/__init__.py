"""OpenAI's chat completions, which clients request from `/v1`."""
