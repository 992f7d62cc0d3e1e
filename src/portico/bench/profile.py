"""Where a server's processor time goes: a sampler within its process, and what its samples add up to."""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from portico.bench.report import render_table

# Processor time between two samples, in seconds.
_INTERVAL = 0.001
_NUM_SHOWN = 25
_PACKAGES = Path(__file__).parents[2]


def profiled(samples: Path) -> list[str]:
    """Arguments of Python that run `portico` with the sampler, which writes to that file in the end."""
    return ["-m", "portico.bench.profile", str(samples)]


def restart(pid: int) -> None:
    """Forgets what was sampled so far, as starting is not what is asked about."""
    os.kill(pid, signal.SIGUSR1)


@dataclass(frozen=True, slots=True)
class Profile:
    """Numbers of samples, by function and by the part of the program that it belongs to.

    A function's own time includes that of the libraries in C and of the system calls that it makes; what the event
    loop does to go from one stream to the next is with the function that runs then.
    """

    total: int
    own: dict[str, int]
    parts: dict[str, int]

    def render(self) -> str:
        """Both tables, most first."""
        parts = [[name, self._share(count)] for name, count in Counter(self.parts).most_common()]
        own = [[name, self._share(count)] for name, count in Counter(self.own).most_common(_NUM_SHOWN)]
        return "\n\n".join((render_table(["part", "share"], parts), render_table(["function", "own time"], own)))

    def _share(self, count: int) -> str:
        return f"{count / max(self.total, 1):.1%}"


def read_profile(samples: Path) -> Profile:
    """What a sampler has written."""
    own: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for path, function, count in json.loads(samples.read_text(encoding="utf-8")):
        part = _part(Path(path))
        own[f"{part}: {function}"] += count
        parts[part] += count
    return Profile(own.total(), dict(own), dict(parts))


def _part(path: Path) -> str:
    """The package of a source file, two names deep."""
    names = path.relative_to(_PACKAGES).parts if path.is_relative_to(_PACKAGES) else path.parts[-2:]
    if "site-packages" in path.parts:
        names = path.parts[path.parts.index("site-packages") + 1 :]
        return names[0]
    return "/".join(names[:2]).removesuffix(".py")


class _Sampler:
    """Notes which function runs, once for every interval of processor time."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._take)
        signal.signal(signal.SIGUSR1, self._forget)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if frame is not None:
            self.counts[frame.f_code.co_filename, frame.f_code.co_qualname] += 1

    def _forget(self, number: int, frame: FrameType | None) -> None:
        self.counts.clear()


def _main(samples: Path, arguments: Sequence[str]) -> None:
    sampler = _Sampler()
    sys.argv = ["portico", *arguments]
    sampler.start()
    try:
        runpy.run_module("portico", run_name="__main__", alter_sys=True)
    finally:
        sampler.stop()
        rows = [[path, function, count] for (path, function), count in sampler.counts.items()]
        samples.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
