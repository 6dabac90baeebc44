"""What schemathesis must know of this gateway: loaded by it through SCHEMATHESIS_HOOKS."""

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

DURATION = "^[1-9][0-9]{0,3}[mhd]$"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    # OpenAPI 3.0 describes an event stream as one text; schemathesis would hold each event against that description.
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                response.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    narrow(raw_schema)


def narrow(raw_schema):
    """Takes from the values what no schema can refuse: a past that must be a future, two budgets of one period."""
    schemas = raw_schema["components"]["schemas"]
    for name in ("KeyPolicy", "KeyChange"):
        settings = schemas[name]["properties"]
        # Printable characters alone; Python's patterns have no word for them.
        settings["name"]["pattern"] = "^[!-~]([ -~]{0,98}[!-~])?$"
        settings["expiresAt"] = {
            "anyOf": [
                {"type": "string", "enum": ["never", None], "nullable": True},
                {"type": "string", "pattern": DURATION},
            ]
        }
        settings["limits"]["properties"]["budgets"]["maxItems"] = 1
    for schema in schemas.values():
        # The demo engine gives 128 answers, to all prompts together; each engine has its own limit.
        if "n" in schema.get("properties", {}):
            schema["properties"]["n"].update(maximum=4)
    for path in ("/usage", "/admin/usage"):
        # `since` before `until`, whichever of them is given.
        for parameter in raw_schema["paths"][path]["get"]["parameters"]:
            if parameter["name"] == "since":
                parameter["schema"] = {"type": "string", "pattern": "^[1-9][0-9]{0,3}d$"}
            if parameter["name"] == "until":
                parameter["schema"] = {"type": "string", "pattern": "^[1-9][0-9]{0,3}s$"}


@schemathesis.check
def accepts_valid_data(ctx, response, case):
    # Each value may be within its bounds, and all of them too much.
    if response.status_code == 413:
        return None
    # A key that another case has revoked cannot be changed any more, whatever is valid.
    if response.status_code == 400 and b"This key is revoked" in response.content:
        return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.check
def rejects_invalid_data(ctx, response, case):
    # What is too large is refused for that alone.
    return None if response.status_code == 413 else negative_data_rejection(ctx, response, case)


@schemathesis.check
def no_internal_error(ctx, response, case):
    codes = response.headers.get("x-gateway-error", [])
    assert "internal_error" not in codes, "the gateway failed by its own fault"
    assert response.status_code != 500 or not codes, "a 500 of the gateway itself"
