"""The Python SDK as a client of the fixture server: `python_client.py URL legacy|modern`."""

import asyncio
import json
import sys

from mcp import Client, types

MODES = {"legacy": "legacy", "modern": "2026-07-28"}


async def answer_elicitation(context, params):
    content = {"name": "Ada", "username": "ada", "email": "ada@example.com"}
    return types.ElicitResult(action="accept", content=content)


async def answer_sampling(context, params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="test-model")


async def answer_roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///work", name="work")])


def text(result):
    return " ".join(getattr(block, "text", f"<{block.type}>") for block in result.content)


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"expected {wanted!r}, got {got!r}")


async def expect_error(call):
    try:
        await call
    except Exception:
        return
    raise AssertionError("expected an error")


async def check(client):
    names = [tool.name for tool in (await client.list_tools()).tools]
    expect(len(names), len(set(names)))
    for name in ["test_simple_text", "test_elicitation", "echo_request", "slow_compute"]:
        expect(name in names, True)

    expect(text(await client.call_tool("test_simple_text")), "This is a simple text response for testing.")
    expect(text(await client.call_tool("test_image_content")), "<image>")
    structured = await client.call_tool("structured_output")
    expect(structured.structured_content, {"temperature": 22.5, "unit": "°C", "names": ['a "b"', "\\", "\u2028"]})
    expect((await client.call_tool("test_error_handling")).is_error, True)
    arguments = {"list": [1, 2.5, None], "text": "ünïcödé \u2028"}
    expect(json.loads(text(await client.call_tool("echo_request", arguments)))["arguments"], arguments)

    steps = []

    async def on_progress(progress, total, message):
        steps.append(progress)

    await client.call_tool("test_tool_with_progress", progress_callback=on_progress)
    expect(steps, [0, 50, 100])

    elicited = text(await client.call_tool("test_elicitation", {"message": "Who are you?"}))
    expect("action=accept" in elicited and "ada@example.com" in elicited, True)
    sampled = text(await client.call_tool("test_sampling", {"prompt": "What is the capital of France?"}))
    expect(sampled, "LLM response: Paris")
    expect("file:///work" in text(await client.call_tool("test_input_required_result_list_roots")), True)
    expect(text(await client.call_tool("test_input_required_result_multiple_inputs")), "Ada: Paris (1 roots)")
    await expect_error(client.call_tool("no_such_tool"))

    expect("test_simple_prompt" in [prompt.name for prompt in (await client.list_prompts()).prompts], True)
    prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "hello", "arg2": "world"})
    expect(prompt.messages[0].content.text, "Prompt with arguments: arg1='hello', arg2='world'")

    expect("test://static-text" in [str(r.uri) for r in (await client.list_resources()).resources], True)
    expect(len((await client.list_resource_templates()).resource_templates), 1)
    contents = (await client.read_resource("test://static-text")).contents
    expect(contents[0].text, "This is the content of the static text resource.")
    await expect_error(client.read_resource("test://no-such-resource"))

    reference = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
    completion = await client.complete(reference, {"name": "arg1", "value": "par"})
    expect(completion.completion.values, ["paris", "park", "party"])


async def main():
    url, era = sys.argv[1:3]
    callbacks = {
        "elicitation_callback": answer_elicitation,
        "sampling_callback": answer_sampling,
        "list_roots_callback": answer_roots,
    }
    async with Client(url, mode=MODES[era], read_timeout_seconds=30, **callbacks) as client:
        await check(client)
    print(f"python mcp, {era}: ok")


asyncio.run(main())
