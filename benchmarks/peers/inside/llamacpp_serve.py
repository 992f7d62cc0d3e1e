"""Runs llama.cpp's own HTTP server: `llamacpp_serve.py MODEL PORT THREADS STREAMS CONTEXT`, in its environment."""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main() -> None:
    """Serves until told to stop."""
    model, port, num_threads, num_streams, context = sys.argv[1], *map(int, sys.argv[2:])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context
    params.n_parallel = num_streams
    params.kv_unified = True
    params.cpuparams.n_threads = num_threads
    params.cpuparams_batch.n_threads = num_threads
    params.hostnames = ["127.0.0.1"]
    params.port = port
    # Keeps the server: it ends with the object.
    server = xllamacpp.Server(params)
    sys.stderr.write(f"{server.listening_address}\n")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    # Before the server's threads start, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
