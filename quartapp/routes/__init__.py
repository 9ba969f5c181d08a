"""The doors: what can be asked of a blueprint over HTTP.

Order inside this folder: replies, asking, stream, openai, ai_sdk, page, origins, other.
"""
