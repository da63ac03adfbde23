"""The way from the runtime's thread into event loops."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary


class EventLoops:
    """Calls functions in event loops; what comes close together wakes a loop once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Callable[[], object]]] = (
            WeakKeyDictionary()
        )

    def call(self, loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
        """Have a function called in a loop soon; in a loop that is closed nobody waits for it."""
        with self._lock:
            if loop.is_closed():
                return
            waiting = self._waiting.setdefault(loop, deque())
            waiting.append(function)
            if len(waiting) == 1:
                with suppress(RuntimeError):  # closed just now
                    loop.call_soon_threadsafe(self._call_waiting, loop)

    def _call_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waiting = self._waiting.pop(loop)
        for function in waiting:
            function()
