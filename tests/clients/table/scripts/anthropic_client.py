import anthropic
from task import asked, parameters, perform

client = anthropic.Anthropic(base_url=asked["baseUrl"], api_key=asked["key"])
messages = [{"role": "user", "content": asked["prompt"]}]
body = {"model": asked["model"], "max_tokens": 200, "messages": messages}


def stream():
    with client.messages.stream(**body) as answer:
        yield from answer.text_stream


def call_tool():
    tools = [{"name": "get_weather", "input_schema": parameters}]
    with client.messages.stream(**body, tools=tools) as answer:
        return answer.get_final_message().content[0].input


perform(stream, call_tool)
