from langchain_client import perform_with
from langchain_openai import ChatOpenAI
from task import asked

perform_with(ChatOpenAI(model=asked["model"], base_url=asked["baseUrl"], api_key=asked["key"]))
