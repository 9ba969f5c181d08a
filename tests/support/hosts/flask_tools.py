"""A Flask project with tools in Python, and the chat at its root."""

from flask import Flask

from tests.support.hosts.tools_of_hosts import chat

app = Flask(__name__, static_folder=None)
chat.init_app(app)
