"""Reprocess whole archives of SAXS curves on every CPU core or an NVIDIA GPU."""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, _ = _lazy.attach(
    __name__,
    submod_attrs={
        "api": ["Result", "process"],
        "archive.from_run": ["reprocess_run"],
        "archive.opened": ["open_run"],
        "archive.run": ["process_archive"],
        "archive.verify": ["verify_run"],
        "batch": ["SampleBatch"],
        "errors": [
            "BackendError",
            "GpusaxsError",
            "PipelineError",
            "ReadError",
            "RunDirectoryError",
            "RunStoppedError",
        ],
        "pipeline": ["Pipeline"],
        "runtime.cancel": ["CancelToken"],
        "runtime.events": ["EventBus"],
        "runtime.runtime": ["Runtime"],
        "sample": [
            "CurveStatus",
            "FitStatus",
            "FlowMetadata",
            "Peak",
            "PhaseMatch",
            "Sample",
            "Verdict",
        ],
        "simulate": ["simulate"],
    },
)

__all__ = [
    "BackendError",
    "CancelToken",
    "CurveStatus",
    "EventBus",
    "FitStatus",
    "FlowMetadata",
    "GpusaxsError",
    "Peak",
    "PhaseMatch",
    "Pipeline",
    "PipelineError",
    "ReadError",
    "Result",
    "RunDirectoryError",
    "RunStoppedError",
    "Runtime",
    "Sample",
    "SampleBatch",
    "Verdict",
    "open_run",
    "process",
    "process_archive",
    "reprocess_run",
    "simulate",
    "verify_run",
]
