# SPDX-License-Identifier: Apache-2.0
"""Log lines for people and for programs: ``key=value``, one event a line, on stderr.

A guest can make events happen as fast as it likes, so the log is where it could fill a disk or slow the daemon down.
Each key therefore has a bucket of tokens; lines without a token are counted and not written, and the count goes out
with the next line of that key, or from `report`. The number of keys is bounded too, since a guest may influence those
as well. A log that cannot be written is not a reason to stop serving: such lines are counted as lost.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TextIO


class Level(IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


_PLAIN: Final = re.compile(r"[!-~]+", re.ASCII)
_NEEDS_QUOTES: Final = re.compile(r'["=\\]')
_COLOURS: Final = {Level.DEBUG: "2", Level.INFO: "0", Level.WARNING: "33", Level.ERROR: "31"}
#: A value longer than this is cut: a whole page of a guest's bytes does not belong in a line.
LONGEST_VALUE: Final = 200
#: Keys that are remembered at once.
MOST_KEYS: Final = 256
#: What `report` calls the keys that there was no room for.
OTHERS: Final = "(others)"


def quoted(value: object) -> str:
    """The value as it stands after the ``=``: bare if it is plain ASCII, else quoted and escaped as in JSON."""
    text = str(value)
    if len(text) > LONGEST_VALUE:
        text = text[: LONGEST_VALUE - 3] + "..."
    if _PLAIN.fullmatch(text) and not _NEEDS_QUOTES.search(text):
        return text
    # ensure_ascii also disarms escape sequences, surrogates and text that changes direction; DEL it leaves alone.
    return json.dumps(text).replace("\x7f", "\\u007f")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float
    suppressed: int = 0


class Log:
    """One per process, not for several threads.

    `rate` is the lines per second that each key may have for long, `burst` how many at once; times come from `clock` in
    seconds. `colour` None means: if the stream is a terminal and NO_COLOR is not set.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        level: Level = Level.INFO,
        rate: float = 1.0,
        burst: int = 10,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        colour: bool | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.level = level
        self._rate, self._burst = rate, burst
        self._clock, self._wall = clock, wall
        self._colour = (self._stream.isatty() and not environment.get("NO_COLOR")) if colour is None else colour
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._others = _Bucket(float(burst), clock())
        self.lost = 0  #: lines that the stream did not take

    def debug(self, event: str, /, *, key: str | None = None, **fields: object) -> bool:
        return self.write(Level.DEBUG, event, key=key, **fields)

    def info(self, event: str, /, *, key: str | None = None, **fields: object) -> bool:
        return self.write(Level.INFO, event, key=key, **fields)

    def warning(self, event: str, /, *, key: str | None = None, **fields: object) -> bool:
        return self.write(Level.WARNING, event, key=key, **fields)

    def error(self, event: str, /, *, key: str | None = None, **fields: object) -> bool:
        return self.write(Level.ERROR, event, key=key, **fields)

    def write(self, level: Level, event: str, /, *, key: str | None = None, **fields: object) -> bool:
        """Write ``time= level= event=`` and the fields in their order; False if the line was held back.

        Lines share a budget by `key`, which is the event's name unless given: put what must not silence each other, for
        example two guests, under different keys.
        """
        if level < self.level:
            return False
        bucket = self._bucket(event if key is None else key)
        if bucket.tokens < 1:
            bucket.suppressed += 1
            return False
        bucket.tokens -= 1
        if bucket.suppressed:
            fields["suppressed"] = bucket.suppressed
            bucket.suppressed = 0
        self._emit(level, event, fields)
        return True

    def report(self) -> None:
        """One line for each key that has held lines back since its last line. Call it now and then, and at the end."""
        for key, bucket in (*self._buckets.items(), (OTHERS, self._others)):
            if bucket.suppressed:
                count, bucket.suppressed = bucket.suppressed, 0
                self._emit(Level.WARNING, "suppressed", {"key": key, "suppressed": count})

    def _bucket(self, key: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MOST_KEYS and not self._forget(now):
                # Whoever makes up new keys must not get a new budget with each: they share one.
                self._refill(self._others, now)
                return self._others
            bucket = self._buckets[key] = _Bucket(float(self._burst), now)
            return bucket
        self._buckets.move_to_end(key)
        self._refill(bucket, now)
        return bucket

    def _refill(self, bucket: _Bucket, now: float) -> None:
        bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now

    def _forget(self, now: float) -> bool:
        """Drop the key that was quiet for longest, if its bucket is full again: then nothing but its count is lost."""
        key, bucket = next(iter(self._buckets.items()))
        self._refill(bucket, now)
        if bucket.tokens < self._burst:
            return False
        self._others.suppressed += bucket.suppressed
        del self._buckets[key]
        return True

    def _emit(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        seconds = self._wall()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
        head = f"time={stamp} level={level.name.lower()} event={quoted(event)}"
        if self.lost:
            head += f" lost={self.lost}"
        line = " ".join([head, *(f"{name}={quoted(value)}" for name, value in fields.items())])
        if self._colour:
            line = f"\x1b[{_COLOURS[level]}m{line}\x1b[0m"
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # full, gone, or closed
            self.lost += 1
        else:
            self.lost = 0
