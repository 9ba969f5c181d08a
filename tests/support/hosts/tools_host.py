"""A Quart project with tools in Python, and the chat at its root."""

from quart import Quart

from tests.support.hosts.tools_of_hosts import chat

app = Quart(__name__, static_folder=None)
chat.init_app(app)
