"""Results of earlier launches, kept on disk: the same curve through the same stage is looked up."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.backends import IndexArray
from gpusaxs.batch import POINT_ARRAYS, CurveStates, SampleBatch
from gpusaxs.errors import GpusaxsError
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch
from gpusaxs.stages.base import Requests

HostStates = dict[str, NDArray[Any]]
_WORD = 8  # bytes of every number that is kept: all are float64 or int64
_GIGABYTE = 2**30


class ResultCache(Interceptor):
    """Gives curves what a stage has made of the same bytes with the same parameters before.

    The key is a hash of all that is known about the curve (points, status, peaks so far) and of
    the stage: parameters, code, kernels, backend. What failed because a stage raised is not kept,
    nor is what a function of one sample did: its code has no reliable name. Launches at the same
    time that share curves compute each once; the others wait for it. One object may serve several
    runtimes of a process, and several processes one folder.

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
        If diskcache is not installed.
    """

    def __init__(
        self, folder: str | Path, ttl: float | None = None, size_limit: int = _GIGABYTE
    ) -> None:
        try:
            from gpusaxs.runtime.plain_disk import open_cache  # noqa: PLC0415
        except ImportError as error:
            raise GpusaxsError(
                f"The result cache needs diskcache ({error}). Install it with: "
                "pip install 'gpusaxs[cache]'"
            ) from error
        self.ttl = ttl
        self.hits = self.misses = 0
        self._cache = open_cache(folder, size_limit)
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Event] = {}

    def close(self) -> None:
        """Close the files of the folder."""
        self._cache.close()

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        fingerprint = launch.stage.fingerprint()
        if fingerprint is None:
            return proceed(launch.rows)
        batch, rows = launch.batch, launch.rows
        keys = _keys(f"{batch.backend.name} {fingerprint}", _on_host(batch, rows))
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            first.setdefault(key, place)
        mine, others = self._claim(first)
        try:
            known = {key: kept for key in mine if (kept := self._cache.get(key)) is not None}
            todo = [key for key in mine if key not in known]
            requests = self._compute(launch, proceed, [first[key] for key in todo], keys, known)
        finally:
            self._give_up(mine)
        known |= {key: kept for key, done in others.items() if (kept := self._awaited(key, done))}
        computed = {first[key] for key in todo}
        left = [place for place in range(rows.size) if place not in computed]
        found = [place for place in left if keys[place] in known]
        late = [place for place in left if keys[place] not in known]
        _add(requests, self._compute(launch, proceed, late, keys, {}))
        _add(requests, _restore(launch, rows[found], [known[keys[place]] for place in found]))
        with self._lock:
            self.hits += len(found)
            self.misses += rows.size - len(found)
        return requests

    def _claim(self, keys: dict[str, int]) -> tuple[list[str], dict[str, threading.Event]]:
        """Take what nobody is computing; return that, and what others are."""
        with self._lock:
            others = {key: self._busy[key] for key in keys if key in self._busy}
            mine = [key for key in keys if key not in others]
            self._busy |= {key: threading.Event() for key in mine}
        return mine, others

    def _give_up(self, mine: list[str]) -> None:
        with self._lock:
            for key in mine:
                self._busy.pop(key).set()

    def _awaited(self, key: str, done: threading.Event) -> bytes | None:
        done.wait()
        kept: bytes | None = self._cache.get(key)
        return kept

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
        rows = launch.rows[places]
        requests = proceed(rows)
        targets = launch.stage.targets
        asked = np.zeros(rows.size, np.int64)
        for name, asking in requests.items():
            if name in targets:
                asked |= np.isin(rows, asking).astype(np.int64) << targets.index(name)
        after = _on_host(launch.batch, rows)
        for place, (row, kept) in enumerate(zip(rows.tolist(), _packed(after, asked), strict=True)):
            if row not in launch.batch.errors:
                key = keys[places[place]]
                known[key] = kept
                self._cache.set(key, kept, expire=self.ttl)
        return dict(requests)


def _add(requests: dict[str, IndexArray], more: dict[str, IndexArray]) -> None:
    for name, rows in more.items():
        requests[name] = np.concatenate([requests[name], rows]) if name in requests else rows


def _on_host(batch: SampleBatch, rows: IndexArray) -> HostStates:
    return {name: batch.backend.to_host(values) for name, values in batch.take(rows).items()}


def _lengths(states: HostStates) -> list[int]:
    """Points of each curve: padding has no q."""
    return [int(count) for count in np.isfinite(states["q"]).sum(axis=1)]


def _row_bytes(states: HostStates, row: int, points: int) -> list[bytes]:
    """Return the numbers of one curve, without padding, in the order of the states' names."""
    return [
        (values[row, :points] if name in POINT_ARRAYS else values[row]).tobytes()
        for name, values in sorted(states.items())
    ]


def _keys(stage: str, states: HostStates) -> list[str]:
    keys = []
    for row, points in enumerate(_lengths(states)):
        digest = hashlib.blake2b(f"{stage} {points}".encode(), digest_size=20)
        for part in _row_bytes(states, row, points):
            digest.update(part)
        keys.append(digest.hexdigest())
    return keys


def _packed(states: HostStates, asked: NDArray[np.int64]) -> list[bytes]:
    """Return each curve, and which stages it asks for, as bytes."""
    return [
        b"".join([asked[row].tobytes(), *_row_bytes(states, row, points)])
        for row, points in enumerate(_lengths(states))
    ]


def _restore(launch: StageLaunch, rows: IndexArray, kept: list[bytes]) -> dict[str, IndexArray]:
    """Let curves be what was kept of them; return what they ask for."""
    if rows.size == 0:
        return {}
    batch = launch.batch
    states = _on_host(batch, rows)
    asked = np.zeros(rows.size, np.int64)
    for row, (points, words) in enumerate(zip(_lengths(states), kept, strict=True)):
        asked[row] = np.frombuffer(words, np.int64, 1)[0]
        offset = _WORD
        for name, values in sorted(states.items()):
            target = values[row, :points] if name in POINT_ARRAYS else values[row, ...]
            read = np.frombuffer(words, values.dtype, target.size, offset)
            target[...] = read.reshape(target.shape)
            offset += _WORD * target.size
    on_device: CurveStates = {
        name: values if name == "stage_num" else batch.backend.to_device(values)
        for name, values in states.items()
    }
    batch.put(rows, on_device)
    return {name: rows[(asked >> bit & 1) == 1] for bit, name in enumerate(launch.stage.targets)}
