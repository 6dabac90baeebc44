"""What schemathesis must know of this gateway: loaded by it through SCHEMATHESIS_HOOKS."""

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    # OpenAPI 3.0 describes an event stream as one text; schemathesis would hold each event against that description.
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                response.get("content", {}).get("text/event-stream", {}).pop("schema", None)


@schemathesis.check
def no_internal_error(ctx, response, case):
    codes = response.headers.get("x-gateway-error", [])
    assert "internal_error" not in codes, "the gateway failed by its own fault"
    assert response.status_code != 500 or not codes, "a 500 of the gateway itself"
