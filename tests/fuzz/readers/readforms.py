"""Reads forms as Starlette does, which vLLM, SGLang and others are built on: a JSON line with a content type and a body
for each form comes in, a JSON line with the values of its field "model" goes out."""

import asyncio
import base64
import json
import logging
import sys

from starlette.requests import Request


async def models_of(content_type: str, body: bytes) -> list[str]:
    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", content_type.encode("latin-1"))]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    try:
        form = await Request(scope, receive).form()
    except Exception:
        # Whatever it cannot read it refuses, or fails on: no model is served.
        return []
    return [value for value in form.getlist("model") if isinstance(value, str)]


async def main() -> None:
    for line in sys.stdin:
        form = json.loads(line)
        models = await models_of(form["contentType"], base64.b64decode(form["body"]))
        # ASCII alone, since a decoded name may have half a surrogate pair.
        print(json.dumps(models))


# Its warnings about forms that it cannot read.
logging.disable()
asyncio.run(main())
