"""How a run is told to stop, and what is done when it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger("gpusaxs")


class CancelToken:
    """Tells runs to stop, from any thread; a run looks at it between launches.

    Cleanup callbacks run once, the last first, when the last of the runs that were given the
    token has ended: on success, error and cancel alike. One that fails is logged, and the others
    run all the same.

    Examples
    --------
    >>> token = CancelToken()
    >>> token.cancel("beam lost")
    >>> token.cancel("too late")
    >>> token.reason
    'beam lost'
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._listeners: list[Callable[[str], None]] = []
        self._cleanups: list[Callable[[], object]] = []
        self._runs = 0

    @property
    def cancelled(self) -> bool:
        """Whether runs are to stop."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Why, as first given; None as long as nobody has cancelled."""
        return self._reason

    def cancel(self, reason: str = "cancelled") -> None:
        """Tell the runs to stop; only the first reason is kept."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            try:
                listener(reason)
            except Exception:
                logger.exception("a listener to a cancel failed")

    def on_cancel(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Have `listener` called with the reason, now if it is known already.

        Returns
        -------
        Callable
            Takes the listener away again.
        """
        with self._lock:
            reason = self._reason
            if reason is None:
                self._listeners.append(listener)
        if reason is not None:
            listener(reason)
        return lambda: self._remove(listener)

    def _remove(self, listener: Callable[[str], None]) -> None:
        with self._lock, suppress(ValueError):
            self._listeners.remove(listener)

    def add_cleanup(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when the runs have ended."""
        with self._lock:
            self._cleanups.append(callback)

    def run_began(self) -> None:
        """Count a run that was given the token."""
        with self._lock:
            self._runs += 1

    def run_ended(self) -> None:
        """Count a run out; at the end of the last the cleanup is done."""
        with self._lock:
            self._runs -= 1
            if self._runs:
                return
            callbacks, self._cleanups = self._cleanups, []
        for callback in reversed(callbacks):
            try:
                callback()
            except Exception:
                logger.exception("a cleanup callback failed")
