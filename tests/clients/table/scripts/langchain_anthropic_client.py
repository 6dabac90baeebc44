from langchain_anthropic import ChatAnthropic
from task import asked, parameters, perform

chat = ChatAnthropic(model=asked["model"], base_url=asked["baseUrl"], api_key=asked["key"], max_tokens=200)


def stream():
    chunks = chat.stream(asked["prompt"])
    try:
        for chunk in chunks:
            yield chunk.text
    finally:
        chunks.close()


def call_tool():
    tool = {"name": "get_weather", "description": "Tells the weather.", "parameters": parameters}
    tools = [{"type": "function", "function": tool}]
    return chat.bind_tools(tools).invoke(asked["prompt"]).tool_calls[0]["args"]


perform(stream, call_tool)
