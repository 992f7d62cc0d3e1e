"""The scoreboard: what the server keeps to under load, faults and attack, measured against really running servers.

`python -m reliability` runs it; see `docs/reliability.md` for the checks and the last figures.
"""
