"""The doors: what can be asked of a blueprint over HTTP.

Order inside this folder: replies, stream, page, other.
"""
