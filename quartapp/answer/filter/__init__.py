"""The output filter: functions of the host app that replace the text of an answer before the client gets it."""
