"""The part that the scripts of all libraries share, as in task.mjs."""

import json
import sys
import time

asked = json.loads(sys.argv[1])
parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def perform(stream, call_tool) -> None:
    """Does the task and prints what came of it. After an abort it stays, so that not its death frees the slot."""
    try:
        if asked["task"] == "tools":
            print("arguments:", json.dumps(call_tool(), separators=(",", ":")))
            return
        texts = stream()
        for text in texts:
            print(text or "", end="", flush=True)
            if asked["task"] == "abort" and text:
                texts.close()
                print("left", flush=True)
                time.sleep(60)
    except Exception as error:
        print("error:", type(error).__name__, error)
        sys.exit(1)
