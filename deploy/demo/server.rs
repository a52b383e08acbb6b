//! What the demo server offers.

use std::time::{Duration, SystemTime};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::wrapper::Parameters,
    model::{
        Implementation, ListResourcesResult, PaginatedRequestParams, ProgressNotificationParam, PromptMessage,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, Role,
        ServerCapabilities, ServerConfig,
    },
    prompt, prompt_handler, prompt_router, schemars,
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde::Deserialize;

const README: &str =
    "This resource comes from a demo MCP server. Its tools are harmless: try `echo`, `add` or `whoami`.";

/// `countdown` counts from at most this, a step every [`STEP`]: nobody should be able to occupy the server for long.
const MAX_STEPS: u32 = 50;
const STEP: Duration = Duration::from_millis(200);

/// One demo server; each session of a client has its own.
#[derive(Clone)]
pub(crate) struct DemoServer {
    name: String,
    readme_uri: String,
}

impl DemoServer {
    /// A server of this name, whose resource has a URI of this scheme.
    pub(crate) fn new(name: String, scheme: &str) -> Self {
        Self { name, readme_uri: format!("{scheme}://readme") }
    }
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Echo {
    /// What to say back
    text: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Countdown {
    /// How many steps to count; each takes 200 ms and reports progress
    #[schemars(range(min = 0, max = 50))]
    from: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Greet {
    /// Whom to greet
    name: String,
}

// Every tool says that it is read-only: a gateway may then repeat a call on another server when one fails.
#[expect(clippy::unused_self, reason = "the router calls every tool as a method")]
#[tool_router]
impl DemoServer {
    #[tool(description = "Returns its input", annotations(read_only_hint = true))]
    fn echo(&self, Parameters(Echo { text }): Parameters<Echo>) -> String {
        text
    }

    #[tool(description = "Adds two integers", annotations(read_only_hint = true))]
    fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> Result<String, String> {
        a.checked_add(b).map(|sum| sum.to_string()).ok_or_else(|| "the sum does not fit in 64 bits".to_owned())
    }

    #[tool(description = "Tells the time, in UTC", annotations(read_only_hint = true))]
    fn now(&self) -> String {
        humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
    }

    #[tool(description = "Tells which server answers", annotations(read_only_hint = true))]
    fn whoami(&self) -> String {
        format!("{} (pid {})", self.name, std::process::id())
    }

    #[tool(description = "Counts down and reports its progress", annotations(read_only_hint = true))]
    async fn countdown(
        &self,
        Parameters(Countdown { from }): Parameters<Countdown>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        if from > MAX_STEPS {
            return Err(ErrorData::invalid_params(format!("from must be at most {MAX_STEPS}"), None));
        }
        for step in 1..=from {
            tokio::select! {
                () = context.ct.cancelled() => break,
                () = tokio::time::sleep(STEP) => {}
            }
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(step))
                    .with_total(f64::from(from))
                    .with_message(format!("{} left", from - step));
                // A client that is gone cannot be told; the cancellation ends the loop.
                let _ = context.peer.notify_progress(progress).await;
            }
        }
        Ok("liftoff".to_owned())
    }
}

#[expect(clippy::unused_self, reason = "the router calls every prompt as a method")]
#[prompt_router]
impl DemoServer {
    #[prompt(description = "Asks for a greeting")]
    fn greet(&self, Parameters(Greet { name }): Parameters<Greet>) -> Vec<PromptMessage> {
        vec![PromptMessage::new_text(Role::User, format!("Greet {name} warmly, in one sentence."))]
    }
}

#[tool_handler]
#[prompt_handler]
impl ServerHandler for DemoServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build())
            .with_server_info(Implementation::new("demo-mcp-server", env!("CARGO_PKG_VERSION")))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let readme = Resource::new(self.readme_uri.clone(), "readme").with_mime_type("text/plain");
        Ok(ListResourcesResult::with_all_items(vec![readme]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != self.readme_uri {
            return Err(ErrorData::resource_not_found(format!("no resource {}", request.uri), None));
        }
        let contents = ResourceContents::text(README, self.readme_uri.clone()).with_mime_type("text/plain");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}
