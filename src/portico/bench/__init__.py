"""The benchmark: random checkpoints of real shapes, a light load generator, and reports with the physical limits.

It knows servers by their wire only and loads no engine; `probe` alone imports torch, and runs in a process of its own.
"""
