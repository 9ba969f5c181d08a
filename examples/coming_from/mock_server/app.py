"""A mock of OpenAI's API. `mock-gpt-model` repeats the last message, and the other models fail.

hypercorn app:app
"""

from quart import Quart

from quartapp import Chat

MODELS = {
    "mock-gpt-model": {"kind": "mock", "model": "mock-echo"},
    "busy": {"kind": "mock", "model": "fault-status:429"},
    "truncated": {"kind": "mock", "model": "fault-no-finish:3"},
}

app = Quart(__name__)
chat = Chat(app, url_prefix="", models=MODELS, model="mock-gpt-model", mock_tokens_per_s=5)
