"""The doors: what can be asked of a blueprint over HTTP.

Order inside this folder: replies, asking, origins, other, stream, openai, ai_sdk, static, page, schema.
"""
