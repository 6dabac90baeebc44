"""What the gateway writes itself, held against the models of the official Python clients, strictly.

Strictly: no value is converted, and no member is there that the model does not know. Besides, both clients list and look
up models with their own strict validation on.

It reads {"url": ..., "key": ..., "model": ..., "bodies": [{"what": ..., "model": ..., "text": ...}]} from its standard
input, and prints {"checked": N, "failures": [...]}.
"""

import json
import sys
from typing import Any

import anthropic
import openai
import pydantic
from anthropic.pagination import SyncPage as AnthropicPage
from anthropic.types import ModelInfo
from anthropic.types.shared import ErrorResponse
from openai.pagination import SyncPage as OpenAIPage
from openai.types import Model
from openai.types.responses import ResponseErrorEvent
from openai.types.shared import ErrorObject

given = json.load(sys.stdin)
failures: list[str] = []
checked = 0


class OpenAIError(openai.BaseModel):
    error: ErrorObject


models: dict[str, Any] = {
    "openai list": OpenAIPage[Model],
    "openai model": Model,
    "openai error": OpenAIError,
    "responses error": ResponseErrorEvent,
    "anthropic list": AnthropicPage[ModelInfo],
    "anthropic model": ModelInfo,
    "anthropic error": ErrorResponse,
}


def unknown_members(value: Any, place: str = "") -> list[str]:
    """Returns the places of members that no model knows, at any depth."""
    if isinstance(value, list):
        return [found for i, each in enumerate(value) for found in unknown_members(each, f"{place}[{i}]")]
    if not isinstance(value, pydantic.BaseModel):
        return []
    found = [f"{place}.{name}" for name in value.model_extra or {}]
    for name in type(value).model_fields:
        found += unknown_members(getattr(value, name), f"{place}.{name}")
    return found


def check(what: str, work) -> None:
    global checked
    checked += 1
    try:
        extra = unknown_members(work())
        if extra:
            failures.append(f"{what}: unknown members {extra}")
    except Exception as error:
        failures.append(f"{what}: {type(error).__name__}: {error}")


for body in given["bodies"]:
    check(body["what"], lambda: models[body["model"]].model_validate_json(body["text"], strict=True))

strict = {"api_key": given["key"], "max_retries": 0, "_strict_response_validation": True}
one = openai.OpenAI(base_url=f"{given['url']}/v1", **strict)
other = anthropic.Anthropic(base_url=given["url"], **strict)
for client, name in ((one, "openai"), (other, "anthropic")):
    check(f"{name} lists", lambda: list(client.models.list()))
    check(f"{name} looks up", lambda: client.models.retrieve(given["model"]))

pages = list(other.models.list(limit=1))
if [each.id for each in pages] != [each.id for each in other.models.list()] or len(pages) < 2:
    failures.append(f"anthropic pages: {pages}")

print(json.dumps({"checked": checked, "failures": failures}))
