from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures of the scoreboard's rows, wherever their tests ran."""
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.stats.get(kind, [])]
    figures = [value for report in reports for name, value in report.user_properties if name == "scoreboard"]
    if figures:
        terminalreporter.section("scoreboard of reliability (short form)")
        for figure in sorted(figures):
            terminalreporter.line(str(figure))
