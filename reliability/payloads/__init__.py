"""What attackers send, by the row of the catalogue in docs/reliability.md; each for every alias of a function."""
