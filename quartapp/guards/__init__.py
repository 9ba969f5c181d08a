"""Who may ask, and how much: each guard raises ChatError or lets pass.

Order inside this folder: auth, body.
"""
