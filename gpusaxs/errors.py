"""Errors that a user of gpusaxs can meet."""


class GpusaxsError(Exception):
    """Base of the errors that gpusaxs raises on purpose: the message says what to do."""


class ReadError(GpusaxsError):
    """A file holds no curve that gpusaxs can read; the message says what was found instead."""


class PipelineError(GpusaxsError):
    """A pipeline, a stage or a parameter that does not exist or does not fit."""


class BackendError(GpusaxsError):
    """A backend that is not available here; the message says what to install."""


class RunDirectoryError(GpusaxsError):
    """A run directory that is missing, incomplete, damaged or in the way."""
