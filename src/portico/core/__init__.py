"""The nouns of the server and its two ports, `Dialect` and `Engine`. Standard library only."""
