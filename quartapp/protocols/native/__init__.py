"""The formats of our own routes: text, NDJSON, server-sent events, and one JSON object."""
