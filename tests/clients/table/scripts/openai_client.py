import json

import openai
from task import asked, parameters, perform

client = openai.OpenAI(base_url=asked["baseUrl"], api_key=asked["key"])
body = {"model": asked["model"], "messages": [{"role": "user", "content": asked["prompt"]}]}


def stream():
    with client.chat.completions.create(**body, stream=True) as chunks:
        for chunk in chunks:
            yield chunk.choices[0].delta.content if chunk.choices else None


def call_tool():
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    with client.chat.completions.stream(**body, tools=tools) as answer:
        message = answer.get_final_completion().choices[0].message
    return json.loads(message.tool_calls[0].function.arguments)


perform(stream, call_tool)
