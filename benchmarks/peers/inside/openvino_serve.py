"""A thin HTTP server around OpenVINO GenAI: `openvino_serve.py MODEL PORT THREADS STREAMS`, in its environment.

OpenVINO GenAI brings no server of its own. This one streams completions for prompts of token ids, in the shape of
OpenAI's API; an event has a letter for each token, since texts are not looked at. That spares it the detokenising
that other servers do.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

import numpy as np
import openvino
import openvino_genai

_HEAD = b"HTTP/1.1 %s\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_FINISHED = (openvino_genai.GenerationStatus.FINISHED, openvino_genai.GenerationStatus.IGNORED)


class Job:
    """One request; `news` gets (choice, number of tokens) pairs, then None."""

    def __init__(self, body: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.prompt = body["prompt"]
        self.config = openvino_genai.GenerationConfig()
        self.config.max_new_tokens = body["max_tokens"]
        self.config.ignore_eos = True
        self.config.num_return_sequences = body.get("n", 1)
        self.config.do_sample = self.config.num_return_sequences > 1
        self.news: asyncio.Queue[list[tuple[int, int]] | None] = asyncio.Queue()
        self.handle: Any = None
        self._loop = loop

    def tell(self, news: list[tuple[int, int]] | None) -> None:
        """Called from the stepping thread."""
        self._loop.call_soon_threadsafe(self.news.put_nowait, news)


class Stepper(threading.Thread):
    """Owns the pipeline: adds what has arrived, steps, and tells each job its new tokens."""

    def __init__(self, model: str, num_threads: int, num_streams: int) -> None:
        super().__init__(daemon=True)
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 2
        scheduler.max_num_seqs = num_streams
        scheduler.enable_prefix_caching = True
        settings = {"INFERENCE_NUM_THREADS": num_threads}
        if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":
            # OpenVINO asks the processor and not oneDNN whether it can quantise activations, and fails.
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", settings)
        self._arrived: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._running: list[Job] = []
        self._next_id = 0

    def add(self, job: Job) -> None:
        """Queues a job."""
        self._arrived.put(job)

    def run(self) -> None:
        """Steps until the process ends, which it does when a step fails: nobody is to wait for its answers."""
        try:
            self._step_forever()
        finally:
            traceback.print_exc()
            os._exit(1)

    def _step_forever(self) -> None:
        while True:
            if not self._running:
                self._admit(self._arrived.get())
            while not self._arrived.empty():
                self._admit(self._arrived.get())
            self._pipeline.step()
            self._running = [job for job in self._running if not self._has_ended(job)]

    def _admit(self, job: Job) -> None:
        prompt = openvino.Tensor(np.array([job.prompt], np.int64))
        job.handle = self._pipeline.add_request(self._next_id, prompt, job.config)
        self._next_id += 1
        self._running.append(job)

    def _has_ended(self, job: Job) -> bool:
        news = []
        while job.handle.can_read():
            outputs = job.handle.read().values()
            news += [(index, len(output.generated_ids)) for index, output in enumerate(outputs)]
        if news:
            job.tell(news)
        has_ended = job.handle.get_status() in _FINISHED
        if has_ended:
            job.tell(None)
        return has_ended


async def _answer(stepper: Stepper, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if head.startswith("get"):
        writer.write(_HEAD % (b"200 OK" if "/health" in head else b"404 Not Found"))
    else:
        length = int(head.partition("content-length:")[2].split()[0])
        await _stream(stepper, json.loads(await reader.readexactly(length)), writer)
    await writer.drain()
    writer.close()


async def _stream(stepper: Stepper, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    job = Job(body, asyncio.get_running_loop())
    stepper.add(job)
    writer.write(_HEAD % b"200 OK")
    total = 0
    while (news := await job.news.get()) is not None:
        for index, count in news:
            total += count
            _send(writer, {"choices": [{"index": index, "text": "x" * count, "finish_reason": None}]})
    _send(writer, {"choices": [], "usage": {"completion_tokens": total}})
    writer.write(b"data: [DONE]\n\n")


def _send(writer: asyncio.StreamWriter, chunk: dict[str, Any]) -> None:
    writer.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


async def _main() -> None:
    model, port, num_threads, num_streams = sys.argv[1], *map(int, sys.argv[2:])
    stepper = Stepper(model, num_threads, num_streams)
    stepper.start()
    server = await asyncio.start_server(lambda reader, writer: _answer(stepper, reader, writer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
