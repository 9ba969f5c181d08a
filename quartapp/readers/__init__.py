"""What models' servers say, made into events: bytes in, batches out, and no word about sockets or clocks.

Servers differ, and most of them are odd. The strict modules read at speed what is as it should be, the loose ones all
else that has a meaning; what has none is an error.

Order inside this folder: marks, retry_times, failures, usages, finish_reasons, think_tags, tool_calls, lines,
strict, plain, attached, loose, event_data, chunks, raw_chunks, bodies, response_shapes, response_rests, response_texts,
response_calls, response_output, response_events.
"""
