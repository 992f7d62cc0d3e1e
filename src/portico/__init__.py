"""Portico: one LLM inference server that every existing client can talk to."""

__version__ = "0.1.0"
