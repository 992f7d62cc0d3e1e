"""Every golden case of every dialect."""

from __future__ import annotations

import pytest

from tests.dialects.golden import Case, check, find_cases


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in find_cases()])
def test_golden(case: Case) -> None:
    check(case)
