"""Signals for code that is not a hook of the chat, for example another extension.

>>> from quartapp.signals import answer_ended
>>> @answer_ended.connect
... def count(app, report):
...     print(report.id, report.ending)
"""

from __future__ import annotations

from typing import Final

from blinker import Namespace, Signal

_signals = Namespace()

#: Sent once when an answer has ended, with the app as its sender and its AnswerReport as `report`. In a Quart project
#: receivers may be async.
answer_ended: Final[Signal] = _signals.signal("quartapp-answer-ended")
