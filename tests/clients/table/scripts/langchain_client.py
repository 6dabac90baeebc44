"""What the two chat models of LangChain have in common: how one streams, and how it calls the tool."""

from task import asked, parameters, perform


def perform_with(chat) -> None:
    """Does the task with a chat model, and prints what came of it."""

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
