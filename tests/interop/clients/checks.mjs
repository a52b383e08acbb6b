// What every JavaScript client does against the fixture server, whatever is between the two: the calls go through one small
// interface, because the SDKs name their arguments differently.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The packages live in the directory of the test tools, not next to this file.
export const require = createRequire(`${process.env.MCP_TEST_TOOLS}/`);

export const capabilities = { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } };

// How the clients answer what servers ask them.
export const answers = {
  elicitation: async () => ({ action: "accept", content: { name: "Ada", username: "ada", email: "ada@example.com" } }),
  sampling: async () => ({ role: "assistant", content: { type: "text", text: "Paris" }, model: "test-model" }),
  roots: async () => ({ roots: [{ uri: "file:///work", name: "work" }] }),
};

const text = (result) => result.content.map((block) => block.text ?? `<${block.type}>`).join(" ");

// The SDKs may handle the last step after the result, when nobody listens for steps any more.
function assertProgress(got, wanted) {
  assert.deepEqual(got, wanted.slice(0, Math.max(got.length, wanted.length - 1)));
}

// `client`: {tools(), call(name, args, onprogress), prompts(), prompt(name, args), resources(), templates(), read(uri),
// complete(ref, argument)}.
export async function checkFixture(client) {
  const names = (await client.tools()).map((tool) => tool.name);
  for (const name of ["test_simple_text", "test_elicitation", "echo_request", "slow_compute"]) {
    assert.ok(names.includes(name), `${name} is listed`);
  }
  assert.equal(new Set(names).size, names.length, "each tool is listed once");

  assert.equal(text(await client.call("test_simple_text", {})), "This is a simple text response for testing.");
  assert.equal(text(await client.call("test_image_content", {})), "<image>");
  const structured = await client.call("structured_output", {});
  assert.deepEqual(structured.structuredContent, { temperature: 22.5, unit: "°C", names: ['a "b"', "\\", "\u2028"] });
  assert.equal((await client.call("test_error_handling", {})).isError, true);
  const echoed = JSON.parse(text(await client.call("echo_request", { list: [1, 2.5, null], text: "ünïcödé \u2028" })));
  assert.deepEqual(echoed.arguments, { list: [1, 2.5, null], text: "ünïcödé \u2028" });

  const progress = [];
  assert.equal(text(await client.call("test_tool_with_progress", {}, (step) => progress.push(step.progress))), "Progress test completed");
  assertProgress(progress, [0, 50, 100]);

  const elicited = text(await client.call("test_elicitation", { message: "Who are you?" }));
  assert.match(elicited, /^User response: action=accept, content=.*ada@example\.com/);
  assert.equal(text(await client.call("test_sampling", { prompt: "What is the capital of France?" })), "LLM response: Paris");
  assert.match(text(await client.call("test_input_required_result_list_roots", {})), /file:\/\/\/work/);
  assert.match(text(await client.call("test_input_required_result_multiple_inputs", {})), /^Ada: Paris \(1 roots\)$/);

  await assert.rejects(client.call("no_such_tool", {}), "an unknown tool is an error");

  assert.ok((await client.prompts()).some((prompt) => prompt.name === "test_prompt_with_arguments"));
  const prompt = await client.prompt("test_prompt_with_arguments", { arg1: "hello", arg2: "world" });
  assert.equal(prompt.messages[0].content.text, "Prompt with arguments: arg1='hello', arg2='world'");

  assert.ok((await client.resources()).some((resource) => resource.uri === "test://static-text"));
  assert.ok((await client.templates()).some((template) => template.uriTemplate === "test://template/{id}/data"));
  assert.equal((await client.read("test://static-text")).contents[0].text, "This is the content of the static text resource.");
  assert.equal(JSON.parse((await client.read("test://template/42/data")).contents[0].text).id, "42");
  await assert.rejects(client.read("test://no-such-resource"), "an unknown resource is an error");

  const completion = await client.complete({ type: "ref/prompt", name: "test_prompt_with_arguments" }, { name: "arg1", value: "par" });
  assert.deepEqual(completion.completion.values, ["paris", "park", "party"]);
}

// The same for `server-everything`, behind a prefix or not: the only one of the real servers that speaks HTTP+SSE itself.
export async function checkEverything(client, prefix) {
  const names = (await client.tools()).map((tool) => tool.name);
  for (const name of ["echo", "get-sum", "trigger-elicitation-request", "trigger-sampling-request", "get-roots-list"]) {
    assert.ok(names.includes(prefix + name), `${prefix}${name} is listed`);
  }
  assert.equal(text(await client.call(`${prefix}echo`, { message: "hello" })), "Echo: hello");
  assert.equal(text(await client.call(`${prefix}get-sum`, { a: 2, b: 40 })), "The sum of 2 and 40 is 42.");
  assert.match(text(await client.call(`${prefix}trigger-elicitation-request`, {})), /Ada/);
  assert.match(text(await client.call(`${prefix}trigger-sampling-request`, { prompt: "What is the capital of France?" })), /Paris/);
  const progress = [];
  await client.call(`${prefix}trigger-long-running-operation`, { duration: 0.5, steps: 5 }, (step) => progress.push(step.progress));
  assertProgress(progress, [1, 2, 3, 4, 5]);
  assert.ok((await client.prompts()).some((prompt) => prompt.name === `${prefix}args-prompt`));
}

// Which checks the server at the URL can stand: `fixture`, or `everything` with an optional prefix, as in `everything:es_`.
export async function check(client, subject) {
  const [name, prefix = ""] = subject.split(":");
  await (name === "fixture" ? checkFixture(client) : checkEverything(client, prefix));
}
