"""Tools in Python: functions of the host app that a model calls while it answers."""
