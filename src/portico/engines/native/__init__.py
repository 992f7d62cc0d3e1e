"""The engine of our own: PyTorch in a process of its own, token ids in, token ids out.

`config`, `messages`, `channel`, `process`, `stream` and `engine` are the asynchronous face and never import torch;
everything else runs in the worker process.
"""
