"""How a process that does not get on is told from one that is slow."""

from __future__ import annotations

import os
import threading
import time

import pytest

from portico.engines.native import heartbeat
from portico.engines.native.heartbeat import Heart


class Patient:
    """A heart that beats fast; `exits` are the ends that it brought about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heartbeat, "INTERVAL", 0.02)
        monkeypatch.setattr(os, "_exit", self._exit)
        self.num_beats = 0
        self.progress = 0
        self.max_stillness = 0.2
        self.exits: list[int] = []
        self.heart = Heart(self._beat, lambda: self.progress, lambda: self.max_stillness)
        self.heart.start()

    def _beat(self) -> None:
        self.num_beats += 1

    def _exit(self, code: int) -> None:
        self.exits.append(code)
        threading.Event().wait()


def test_a_step_that_never_ends_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(monkeypatch)
    patient.heart.begin()
    time.sleep(1.0)
    assert patient.exits == [1]
    assert patient.num_beats > 5


def test_steps_that_end_and_idle_hours_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(monkeypatch)
    for _ in range(10):
        patient.heart.begin()
        time.sleep(0.05)
    patient.heart.rest()
    time.sleep(0.5)
    assert patient.exits == []


def test_a_long_step_that_gets_on_may_take_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(monkeypatch)
    patient.heart.begin()
    for _ in range(20):
        time.sleep(0.05)
        patient.progress += 1
    assert patient.exits == []
    time.sleep(1.0)
    assert patient.exits == [1]


def test_a_slow_model_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(monkeypatch)
    patient.max_stillness = 100.0
    patient.heart.begin()
    time.sleep(0.8)
    assert patient.exits == []
    patient.heart.rest()
