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

    def __init__(self, monkeypatch: pytest.MonkeyPatch, num_parameters: int = 0) -> None:
        monkeypatch.setattr(heartbeat, "INTERVAL", 0.02)
        monkeypatch.setattr(heartbeat, "_MAX_STEP", 0.2)
        monkeypatch.setattr(os, "_exit", self._exit)
        self.num_beats = 0
        self.num_tokens = 1
        self.exits: list[int] = []
        self.heart = Heart(self._beat, lambda: self.num_tokens, num_parameters)
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


def test_a_large_step_of_a_large_model_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(monkeypatch, num_parameters=10**9)
    patient.num_tokens = 2000
    patient.heart.begin()
    time.sleep(0.8)
    assert patient.exits == []
    patient.heart.rest()
