"""Where answers come from: the only folder that knows the official client.

Order inside this folder: in_process, transport, compression, servers, entra, history, parameters, output_limit,
chat_completions, response_input, response_parameters, responses, sendable, addresses, entry, origins, table, kinds,
attempts, own, registry.
"""
