//! Runs stdio MCP servers as child processes and serves them over Streamable HTTP.
