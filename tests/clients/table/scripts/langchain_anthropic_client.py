from langchain_anthropic import ChatAnthropic
from langchain_client import perform_with
from task import asked

perform_with(
    ChatAnthropic(
        model=asked["model"], base_url=asked["baseUrl"], api_key=asked["key"], max_tokens=200
    )
)
