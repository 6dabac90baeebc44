"""The official openai client for Python, unchanged but for its base URL, before a gateway.

It prints a line for each check, {"check": ..., "failure": null or a traceback}. The last one closes a stream in its
middle; after that the program stays until its standard input ends, so that it is the client's closing that frees the
slot and not its death.

Usage: python python_client.py '{"url": ..., "embeddingUrl": ..., "lonelyUrl": ..., "model": ..., "key": ..., ...}'
"""

import json
import sys
import traceback

import openai

backend = json.loads(sys.argv[1])
model = backend["model"]
messages = [{"role": "user", "content": "Say hello."}]
brief = {"max_tokens": 5, "temperature": 0}


def client(url: str = backend["url"], key: str = backend["key"]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def failure(kind: type[openai.APIStatusError], ask) -> openai.APIStatusError:
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def models() -> None:
    assert [entry.id for entry in client().models.list()] == [model]
    assert client().models.retrieve(model).id == model


def completion() -> None:
    answer = client().completions.create(model=model, prompt="Hello", **brief)
    assert answer.choices[0].text
    assert answer.usage.completion_tokens == 5


def chat() -> None:
    answer = client().chat.completions.create(model=model, messages=messages, **brief)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 5


def streamed_chat() -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client().chat.completions.create(model=model, messages=messages, **brief, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens == 5


def response() -> None:
    asked = {"model": model, "input": "Say hello.", "max_output_tokens": 5, "temperature": 0}
    assert client().responses.create(**asked).output_text
    types = [event.type for event in client().responses.create(**asked, stream=True)]
    assert types[0] == "response.created" and types[-1] == "response.completed", types


def embeddings() -> None:
    answer = client(backend["embeddingUrl"]).embeddings.create(model=model, input=["one", "two"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 2


def errors() -> None:
    no_key = {"Authorization": openai.Omit()}
    error = failure(openai.AuthenticationError, lambda: client().models.list(extra_headers=no_key))
    assert error.code == "missing_api_key" and error.request_id
    error = failure(openai.PermissionDeniedError, client(key="sk-wrong").models.list)
    assert error.code == "invalid_api_key"
    error = failure(openai.NotFoundError, lambda: client().models.retrieve("no/such-model"))
    assert error.code == "model_not_found"
    error = failure(openai.InternalServerError, client(backend["lonelyUrl"]).models.list)
    assert error.status_code == 502 and error.code == "upstream_unreachable"


def abort() -> None:
    stream = client().chat.completions.create(
        model=model,
        messages=messages,
        stream=True,
        max_tokens=backend["endless"]["max_tokens"],
        temperature=0,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    stream.close()


for check in (models, completion, chat, streamed_chat, response, embeddings, errors, abort):
    try:
        check()
        problem = None
    except Exception:
        problem = traceback.format_exc()
    print(json.dumps({"check": check.__name__, "failure": problem}), flush=True)
sys.stdin.read()
