"""What a client may ask: a module a door, each with the shape of its request, its limits and its errors.

All raise ChatError with a code and the path of the field at fault, and never repeat what the client sent.

Order inside this folder: documents, attachments, parts, calls, messages, chat, openai, ai_sdk.
"""
