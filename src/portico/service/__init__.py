"""The use case: a request in, its events out."""
