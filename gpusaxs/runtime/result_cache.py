"""Results of earlier launches, kept on disk: the same curve through the same stage is looked up."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.backends import IndexArray
from gpusaxs.backends.supervision import check_deadline
from gpusaxs.batch import POINT_ARRAYS, CurveStates, SampleBatch
from gpusaxs.errors import GpusaxsError
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch
from gpusaxs.stages.base import Requests, Stage, code_of

HostStates = dict[str, NDArray[Any]]
_WORD = 8  # bytes of every number that is kept: all are float64 or int64
_GIGABYTE = 2**30
_SEAL = 16  # bytes
_LOOK = 0.05  # seconds after which one who waits looks whether it still has to
_CODE = code_of(Stage)  # read now: a file that is edited later is not what runs here

logger = logging.getLogger("gpusaxs")


class ResultCache(Interceptor):
    """Gives curves what a stage has made of the same bytes with the same parameters before.

    The key is a hash of all that is known about the curve (points, status, peaks so far), of the
    stage (see `Stage.fingerprint`), the backend, the code of gpusaxs, and the versions of NumPy,
    SciPy and Numba. A stage without a fingerprint runs as if there were no cache. Not kept are
    curves about which a stage raised, and those that ask for several stages or for one that they
    may not. Launches at the same time that share curves compute each once; the others wait for
    it. One object may serve several runtimes of a process, and several processes one folder.

    An entry that is damaged is computed anew. Where the folder cannot be read or written, all is
    computed; the log says so once.

    Parameters
    ----------
    folder
        Where results are kept.
    ttl
        Seconds for which a result is good; None for ever.
    size_limit
        Bytes on disk; the results not used for longest go first.

    Attributes
    ----------
    hits, misses
        Curves found, and curves computed.

    Raises
    ------
    GpusaxsError
        If diskcache is not installed, or the folder cannot be opened.
    """

    def __init__(
        self, folder: str | Path, ttl: float | None = None, size_limit: int = _GIGABYTE
    ) -> None:
        try:
            from gpusaxs.runtime.plain_disk import PROBLEMS, open_cache  # noqa: PLC0415
        except ImportError as error:
            raise GpusaxsError(
                f"The result cache needs diskcache ({error}). Install it with: "
                "pip install 'gpusaxs[cache]'"
            ) from error
        self.ttl = ttl
        self.hits = self.misses = 0
        try:
            self._cache = open_cache(folder, size_limit)
        except PROBLEMS as error:
            raise GpusaxsError(
                f"Cannot open the result cache {folder}: {error}. Remove it or name another folder."
            ) from error
        self._problems = PROBLEMS
        self._told = False
        self._code = [_CODE, *(version(name) for name in ("numba", "numpy", "scipy"))]
        self._freed = threading.Condition()
        self._busy: set[str] = set()

    def close(self) -> None:
        """Close the files of the folder."""
        self._cache.close()

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        fingerprint = launch.stage.fingerprint()
        if fingerprint is None or None in self._code:
            return proceed(launch.rows)
        batch, rows = launch.batch, launch.rows
        keys = _keys([batch.backend.name, fingerprint, *self._code], batch, rows)
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            first.setdefault(key, place)
        claimed = set(first)
        self._claim(claimed, launch)
        try:
            known = self._look_up(first)
            found = claimed & known.keys()
            self._release(found)
            claimed -= found
            todo = [place for key, place in first.items() if key in claimed]
            requests = self._compute(launch, proceed, todo, keys, known)
        finally:
            self._release(claimed)
        computed = set(todo)
        left = [place for place in range(rows.size) if place not in computed]
        # Copies of curves that cannot be kept.
        copies = [place for place in left if keys[place] not in known]
        restored = [place for place in left if keys[place] in known]
        _add(requests, self._compute(launch, proceed, copies, keys, known))
        _add(requests, _restore(batch, rows[restored], [known[keys[i]] for i in restored]))
        with self._freed:
            self.hits += len(restored)
            self.misses += rows.size - len(restored)
        return requests

    def _claim(self, keys: set[str], launch: StageLaunch) -> None:
        """Take all keys at once as soon as nobody has one: so no two wait for each other."""
        while True:
            with self._freed:
                if self._freed.wait_for(lambda: self._busy.isdisjoint(keys), _LOOK):
                    self._busy |= keys
                    return
            check_deadline()
            launch.pause(0.001)  # for the sake of what it raises

    def _release(self, keys: set[str]) -> None:
        with self._freed:
            self._busy -= keys
            self._freed.notify_all()

    def _look_up(self, keys: Iterable[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        try:
            for key in keys:
                kept = self._cache.get(key)
                # Anything may be there: a part of an entry, or one that belongs elsewhere.
                if isinstance(kept, bytes) and kept[:_SEAL] == _seal(key, kept[_SEAL:]):
                    found[key] = kept[_SEAL:]
        except self._problems as problem:
            self._tell(problem)
        return found

    def _keep(self, results: dict[str, bytes]) -> None:
        try:
            for key, result in results.items():
                self._cache.set(key, _seal(key, result) + result, expire=self.ttl)
        except self._problems as problem:
            self._tell(problem)

    def _tell(self, problem: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "The result cache cannot use %s: %s", self._cache.directory, problem or "no answer"
            )

    def _compute(
        self,
        launch: StageLaunch,
        proceed: Proceed,
        places: list[int],
        keys: list[str],
        known: dict[str, bytes],
    ) -> dict[str, IndexArray]:
        """Run the stage over some of the rows; keep what came of them, and add it to `known`."""
        if not places:
            return {}
        batch, rows = launch.batch, launch.rows[places]
        answer = proceed(rows)
        requests = {name: np.asarray(asking, np.int64) for name, asking in answer.items()}
        asked: dict[int, list[str]] = {row: [] for row in rows.tolist()}
        for name, asking in requests.items():
            for row in asking.tolist():
                asked.setdefault(row, []).append(name)
        if len(asked) > rows.size:
            return requests  # the launch asked for others' curves too: all of it will fail
        allowed = frozenset(launch.stage.targets)
        results = {
            keys[place]: json.dumps([asked[row], batch.reasons.get(row)]).encode() + b"\n" + numbers
            for place, row, numbers in zip(places, asked, _packed(batch, rows), strict=True)
            # The order of several requests is the launch's, not the curve's.
            if row not in batch.errors and len(asked[row]) < 2 and allowed.issuperset(asked[row])
        }
        known |= results
        self._keep(results)
        return requests


def _add(requests: dict[str, IndexArray], more: dict[str, IndexArray]) -> None:
    for name, rows in more.items():
        requests[name] = np.concatenate([requests[name], rows]) if name in requests else rows


def _seal(key: str, result: bytes) -> bytes:
    """Hash of a result and its place."""
    return hashlib.blake2b(result, digest_size=_SEAL, key=key.encode()).digest()


def _on_host(batch: SampleBatch, rows: IndexArray) -> HostStates:
    return {name: batch.backend.to_host(values) for name, values in batch.take(rows).items()}


def _lengths(states: HostStates) -> list[int]:
    """Points of each curve: padding has no q."""
    return [int(count) for count in np.isfinite(states["q"]).sum(axis=1)]


def _row_bytes(states: HostStates, row: int, points: int) -> bytes:
    """Return the numbers of one curve, without padding, in the order of the states' names."""
    return b"".join(
        (values[row, :points] if name in POINT_ARRAYS else values[row]).tobytes()
        for name, values in sorted(states.items())
    )


def _keys(stage: list[str | None], batch: SampleBatch, rows: IndexArray) -> list[str]:
    states = _on_host(batch, rows)
    keys = []
    for row, points in enumerate(_lengths(states)):
        words = json.dumps([*stage, points, batch.reasons.get(int(rows[row]))])
        known = words.encode() + _row_bytes(states, row, points)
        keys.append(hashlib.blake2b(known, digest_size=20).hexdigest())
    return keys


def _packed(batch: SampleBatch, rows: IndexArray) -> list[bytes]:
    """Return the numbers of each curve."""
    states = _on_host(batch, rows)
    return [_row_bytes(states, row, points) for row, points in enumerate(_lengths(states))]


def _restore(batch: SampleBatch, rows: IndexArray, kept: list[bytes]) -> dict[str, IndexArray]:
    """Let curves be what was kept of them; return what they ask for."""
    if rows.size == 0:
        return {}
    states = _on_host(batch, rows)
    asked: dict[str, list[int]] = {}
    reasons: dict[int, str] = {}
    for place, (row, points, result) in enumerate(
        zip(rows.tolist(), _lengths(states), kept, strict=True)
    ):
        words, numbers = result.split(b"\n", 1)
        names, reason = json.loads(words)
        for name in names:
            asked.setdefault(name, []).append(row)
        if reason is not None:
            reasons[row] = reason
        offset = 0
        for name, values in sorted(states.items()):
            target = values[place, :points] if name in POINT_ARRAYS else values[place, ...]
            read = np.frombuffer(numbers, values.dtype, target.size, offset)
            target[...] = read.reshape(target.shape)
            offset += _WORD * target.size
    on_device: CurveStates = {
        name: values if name == "stage_num" else batch.backend.to_device(values)
        for name, values in states.items()
    }
    batch.put(rows, on_device)
    batch.reasons |= reasons
    return {name: np.array(asking, np.int64) for name, asking in asked.items()}
