"""The native protocol: answers as text, NDJSON, server-sent events, or one JSON object."""
