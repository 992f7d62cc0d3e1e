"""Score the demo model: `python -m demo.evaluate [--base-url http://127.0.0.1:1025 | --checkpoint FOLDER]`.

The questions go to an OpenAI-compatible server. Without --base-url a server is started on a free port and stopped
afterwards; with --checkpoint the model answers in this process, with no server at all.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from demo.cases import Case, all_cases, render

TEMPERATURE, TOP_P = 1.0, 0.85
START_SECONDS = 120


def post(url: str, body: dict[str, object]) -> dict[str, object]:
    """Send JSON, receive JSON."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def ask_server(base_url: str, model: str, case: Case) -> str:
    """The text of the server's answer to one case."""
    sampled = case.sampling == "sampled"
    body: dict[str, object] = {
        "model": model,
        "max_tokens": case.max_tokens,
        "temperature": TEMPERATURE if sampled else 0,
        "top_p": TOP_P if sampled else 1,
    }
    if isinstance(case.prompt, str):
        choice = post(f"{base_url}/v1/completions", {**body, "prompt": case.prompt})["choices"]
        return str(choice[0]["text"])  # type: ignore[index]
    choice = post(f"{base_url}/v1/chat/completions", {**body, "messages": list(case.prompt)})["choices"]
    return str(choice[0]["message"]["content"])  # type: ignore[index]


def answers_over_http(base_url: str, model: str, cases: list[Case], concurrency: int) -> list[str]:
    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(lambda case: ask_server(base_url, model, case), cases))


def answers_in_process(folder: Path, cases: list[Case], rows: int = 32) -> list[str]:
    """Answer with the training code's own model, in batches of cases alike in length and sampling."""
    import torch

    from demo.export import load
    from demo.model import generate

    torch.manual_seed(5)
    model, tokenizer = load(folder)
    stops = frozenset(i for t in ("<|im_end|>", "<|endoftext|>") if (i := tokenizer.token_to_id(t)) is not None)
    prompts = [tokenizer.encode(c.prompt if isinstance(c.prompt, str) else render(c.prompt)).ids for c in cases]
    order = sorted(range(len(cases)), key=lambda i: (cases[i].sampling, cases[i].max_tokens, len(prompts[i])))
    answers = [""] * len(cases)
    while order:
        first = cases[order[0]]
        taken = [
            i for i in order[:rows] if (cases[i].sampling, cases[i].max_tokens) == (first.sampling, first.max_tokens)
        ]
        order = order[len(taken) :]
        temperature = TEMPERATURE if first.sampling == "sampled" else 0.0
        outputs = generate(model, [prompts[i] for i in taken], stops, first.max_tokens, temperature, TOP_P)
        for i, output in zip(taken, outputs, strict=True):
            answers[i] = tokenizer.decode(output)
    return answers


def table(cases: list[Case], answers: list[str]) -> str:
    """Rows of group, right answers, total and percentage, and the totals of names and questions."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for case, answer in zip(cases, answers, strict=True):
        kind = case.group.partition(":")[0].partition(" ")[0]
        for key in (case.group, f"all of {kind}, {case.sampling}"):
            counts[key][0] += case.passes(answer)
            counts[key][1] += 1
    width = max(map(len, counts))
    return "\n".join(
        f"{key:{width}}  {right:4}/{total:<4} {right / total:6.1%}" for key, (right, total) in sorted(counts.items())
    )


@contextlib.contextmanager
def running_server() -> Iterator[str]:
    """A server of the built-in model on a free port; yields its base URL once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--grpc-port", "0", "--log-level", "warning"]
    command = [sys.executable, "-m", "portico", "serve", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    base_url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with status {server.returncode}")
            try:
                urllib.request.urlopen(f"{base_url}/v2/health/ready", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the server was not ready after {START_SECONDS} s") from None
                time.sleep(0.3)
        yield base_url
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", help="an OpenAI-compatible server; default: start one")
    parser.add_argument("--checkpoint", type=Path, help="evaluate this folder in process instead")
    parser.add_argument("--model", default="qwen1.5-14b", help="model name in the requests")
    parser.add_argument("--names", type=int, default=210, help="how many held-out names")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--show-wrong", action="store_true", help="print every wrong answer")
    args = parser.parse_args()
    cases = all_cases(args.names)
    over_http: Callable[[str], list[str]] = lambda url: answers_over_http(url, args.model, cases, args.concurrency)  # noqa: E731
    if args.checkpoint:
        answers = answers_in_process(args.checkpoint, cases)
    elif args.base_url:
        answers = over_http(args.base_url.rstrip("/"))
    else:
        with running_server() as base_url:
            answers = over_http(base_url)
    if args.show_wrong:
        for case, answer in zip(cases, answers, strict=True):
            if not case.passes(answer):
                asked = case.prompt if isinstance(case.prompt, str) else case.prompt[-1]["content"]
                print(f"{case.group}: {asked[-60:]!r} wants {case.keywords}: {answer[:80]!r}")
    print(table(cases, answers))


if __name__ == "__main__":
    main()
