"""Try a launch again that failed for a reason that may pass."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import tenacity

from gpusaxs.backends import IndexArray
from gpusaxs.errors import BackendError, OutOfMemoryError, PipelineError, StageTimeoutError
from gpusaxs.runtime.events import Retried, now
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch, stage_names
from gpusaxs.stages.base import Requests

HALVED = (OutOfMemoryError, StageTimeoutError)
"""Errors that fewer curves may avoid."""


class Retry(Interceptor):
    """Runs a launch again where it raised an error that is declared transient.

    Every attempt starts from what the curves were before the first: their rows are kept aside as
    long as the launch lasts. Where the device was out of memory, or a timeout passed, the next
    attempt takes half as many curves at once, unless the stage needs all of them. Curves whose
    last attempt has failed fail; the others of the launch go on.

    Parameters
    ----------
    attempts
        How often a launch is run at most, the first included.
    wait
        What is waited before an attempt: nothing, always `seconds`, `seconds` more each time, or
        twice as long each time plus up to `seconds` at random.
    seconds, longest
        Of the waits.
    transient
        Errors that may pass.
    stages
        Names of the stages that it is for; all where none are given.
    """

    def __init__(
        self,
        attempts: int = 3,
        wait: Literal["none", "fixed", "linear", "exponential"] = "exponential",
        seconds: float = 0.1,
        longest: float = 60.0,
        transient: Collection[type[Exception]] = (OutOfMemoryError,),
        stages: Collection[str] = (),
    ) -> None:
        if attempts < 1:
            raise ValueError(f"Expected at least 1 attempt, the first included. Got {attempts}.")
        if not 0.0 <= seconds <= longest:
            raise ValueError(f"Expected waits from 0 to {longest} s. Got {seconds}.")
        waits: dict[str, tenacity.wait.wait_base] = {
            "none": tenacity.wait_none(),
            "fixed": tenacity.wait_fixed(seconds),
            "linear": tenacity.wait_incrementing(seconds, seconds, longest),
            "exponential": tenacity.wait_exponential_jitter(
                multiplier=seconds, max=longest, jitter=seconds
            ),
        }
        if wait not in waits:
            raise ValueError(f"Expected a wait out of {', '.join(waits)}. Got {wait!r}.")
        self.attempts = attempts
        self.transient = tuple(transient)
        self.stages = stage_names(stages)
        self._wait = waits[wait]

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        if self.stages and launch.stage.name not in self.stages:
            return proceed(launch.rows)
        attempt = _Attempts(launch, proceed, self.transient)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(self.transient),
            sleep=launch.pause,
            before_sleep=attempt.tell,
            reraise=True,
        )
        try:
            retrying(attempt.run)
        except self.transient as error:
            if attempt.todo.size == launch.rows.size:
                raise
            for row in attempt.todo.tolist():
                launch.batch.fail([row], launch.stage.name, attempt.errors.get(row, error))
        return {name: np.concatenate(parts) for name, parts in attempt.requests.items()}


class _Attempts:
    """What is left to do of a launch, and what was asked for by what is done."""

    def __init__(
        self, launch: StageLaunch, proceed: Proceed, transient: tuple[type[Exception], ...]
    ) -> None:
        self.launch = launch
        self.proceed = proceed
        self.transient = transient
        self.todo = launch.rows
        self.requests: dict[str, list[IndexArray]] = {}
        self.errors: dict[int, Exception] = {}
        self._at_once = launch.rows.size
        self._before = launch.batch.take(launch.rows)

    def run(self) -> None:
        """Run what is left, in parts; raise the last error if some of it must be run again."""
        again: list[IndexArray] = []
        error: Exception | None = None
        halve = False
        parts = np.split(self.todo, range(self._at_once, self.todo.size, self._at_once))
        for part in parts:
            try:
                requests = self.proceed(part)
            except self.transient as raised:
                failed, error, requests = part, raised, {}
                halve |= isinstance(raised, HALVED) and not self.launch.stage.joint
                self.errors |= dict.fromkeys(part.tolist(), raised)
            except (PipelineError, BackendError):
                raise
            except Exception as raised:
                if part.size == self.launch.rows.size:
                    raise
                self.launch.batch.fail(part, self.launch.stage.name, raised)
                continue
            else:
                failed, raised_for = self._failed(part)
                error = raised_for or error
            again.append(failed)
            for name, rows in requests.items():
                self.requests.setdefault(name, []).append(rows[~np.isin(rows, failed)])
        self.todo = np.concatenate(again) if again else self.todo[:0]
        if error is None:
            return
        places = np.flatnonzero(np.isin(self.launch.rows, self.todo))
        self.todo = self.launch.rows[places]
        self.launch.batch.put(
            self.todo, {name: values[places] for name, values in self._before.items()}
        )
        if halve:
            self._at_once = max(1, -(-self._at_once // 2))
        raise error

    def _failed(self, part: IndexArray) -> tuple[IndexArray, Exception | None]:
        """Rows of a part about which the stage raised something transient, one by one."""
        errors = self.launch.batch.errors
        failed = [row for row in part.tolist() if isinstance(errors.get(row), self.transient)]
        self.errors |= {row: errors[row] for row in failed}
        return np.array(failed, np.int64), errors[failed[0]] if failed else None

    def tell(self, state: tenacity.RetryCallState) -> None:
        """Emit that another attempt follows."""
        assert state.outcome is not None
        assert state.next_action is not None
        self.launch.emit(
            Retried(
                now(),
                self.launch.stage.name,
                int(self.todo.size),
                state.attempt_number + 1,
                float(state.next_action.sleep),
                str(state.outcome.exception()),
            )
        )
