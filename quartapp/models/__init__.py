"""Where answers come from: the only folder that knows the official client.

Order inside this folder: failures, chunks, in_process, chat_completions, registry.
"""
