"""Errors that a user of gpusaxs can meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpusaxs.sample import Sample

LONGEST_REASON = 1000
"""Characters that the reason of a file may have: it goes into tables and reports."""


class GpusaxsError(Exception):
    """Base of the errors that gpusaxs raises on purpose: the message says what to do."""


class ReadError(GpusaxsError):
    """A file holds no curve that gpusaxs can read; the message says what was found instead.

    Of a message that quotes too much of a file, the middle is left out.
    """

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST_REASON:
            message = f"{message[: LONGEST_REASON // 2]} ... {message[5 - LONGEST_REASON // 2 :]}"
        super().__init__(message)


class PipelineError(GpusaxsError):
    """A pipeline, a stage or a parameter that does not exist or does not fit."""


class BackendError(GpusaxsError):
    """A backend that is not available here; the message says what to install."""


class RunDirectoryError(GpusaxsError):
    """A run directory that is missing, incomplete, damaged or in the way."""


class OutputInTheWayError(GpusaxsError):
    """Something is in the place where a file or a folder should be written."""


class OutOfMemoryError(GpusaxsError):
    """A launch needs more memory than the device has; with fewer curves it may not."""


class StageTimeoutError(GpusaxsError):
    """A launch took longer than its timeout; with fewer curves it may not."""


class RunStoppedError(GpusaxsError):
    """A run ended before all its curves did, because one has failed.

    Attributes
    ----------
    samples
        All samples of the run in order: complete, failed, or cancelled.
    """

    def __init__(self, message: str, samples: Sequence[Sample]) -> None:
        super().__init__(message)
        self.samples = samples
