"""The checks of a request before the model is called.

A `Guard` (`guard.py`), for example `Slots`, may return a lease. The other modules are functions that raise ChatError.
"""
