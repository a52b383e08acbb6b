// @modelcontextprotocol/sdk 1.x as a client: `sdk_v1.mjs URL http|sse|mcp-remote SUBJECT`.
// With mcp-remote, the SDK starts that bridge as a stdio server and the bridge connects to the URL.

import { answers, capabilities, check, require } from "./checks.mjs";

const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const [url, transportName, subject] = process.argv.slice(2);

function transport() {
  switch (transportName) {
    case "http": {
      const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
      return new StreamableHTTPClientTransport(new URL(url));
    }
    case "sse": {
      const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
      return new SSEClientTransport(new URL(url));
    }
    case "mcp-remote": {
      const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
      const bridge = `${process.env.MCP_TEST_TOOLS}/node_modules/mcp-remote/dist/proxy.js`;
      return new StdioClientTransport({
        command: process.execPath,
        args: [bridge, url, "--transport", "http-only"],
        env: { ...process.env, MCP_REMOTE_CONFIG_DIR: process.env.MCP_REMOTE_CONFIG_DIR ?? "" },
        stderr: "ignore",
      });
    }
    default:
      throw new Error(`unknown transport ${transportName}`);
  }
}

const sdk = new Client({ name: "interop-sdk-v1", version: "1.0.0" }, { capabilities });
sdk.setRequestHandler(types.ElicitRequestSchema, answers.elicitation);
sdk.setRequestHandler(types.CreateMessageRequestSchema, answers.sampling);
sdk.setRequestHandler(types.ListRootsRequestSchema, answers.roots);
await sdk.connect(transport());

await check(
  {
    tools: async () => (await sdk.listTools()).tools,
    call: (name, args, onprogress) => sdk.callTool({ name, arguments: args }, undefined, { onprogress }),
    prompts: async () => (await sdk.listPrompts()).prompts,
    prompt: (name, args) => sdk.getPrompt({ name, arguments: args }),
    resources: async () => (await sdk.listResources()).resources,
    templates: async () => (await sdk.listResourceTemplates()).resourceTemplates,
    read: (uri) => sdk.readResource({ uri }),
    complete: (ref, argument) => sdk.complete({ ref, argument }),
  },
  subject,
);
await sdk.ping();
await sdk.close();
console.log(`sdk 1.x over ${transportName}: ok`);
