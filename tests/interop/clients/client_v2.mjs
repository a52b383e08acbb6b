// @modelcontextprotocol/client 2.x: `client_v2.mjs URL legacy|modern SUBJECT`.

import assert from "node:assert/strict";
import { answers, capabilities, check, require } from "./checks.mjs";

const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

const [url, era, subject] = process.argv.slice(2);
const mode = era === "modern" ? { pin: "2026-07-28" } : "legacy";

const sdk = new Client({ name: "interop-client-v2", version: "1.0.0" }, { capabilities, versionNegotiation: { mode } });
sdk.setRequestHandler("elicitation/create", answers.elicitation);
sdk.setRequestHandler("sampling/createMessage", answers.sampling);
sdk.setRequestHandler("roots/list", answers.roots);
await sdk.connect(new StreamableHTTPClientTransport(new URL(url)));
assert.equal(sdk.getProtocolEra(), era);

await check(
  {
    tools: async () => (await sdk.listTools()).tools,
    call: (name, args, onprogress) => sdk.callTool({ name, arguments: args }, { onprogress }),
    prompts: async () => (await sdk.listPrompts()).prompts,
    prompt: (name, args) => sdk.getPrompt({ name, arguments: args }),
    resources: async () => (await sdk.listResources()).resources,
    templates: async () => (await sdk.listResourceTemplates()).resourceTemplates,
    read: (uri) => sdk.readResource({ uri }),
    complete: (ref, argument) => sdk.complete({ ref, argument }),
  },
  subject,
);
await sdk.close();
console.log(`client 2.x, ${era}: ok`);
