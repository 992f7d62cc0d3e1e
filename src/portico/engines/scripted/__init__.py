"""A deterministic engine without a model: for trying clients, for tests, and for benchmarks of everything around it."""
