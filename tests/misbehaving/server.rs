//! The tools. No result but those of `pid` and `processes` matters; what the process does, does.

use std::{
    io::Write as _,
    process,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    ServerHandler,
    handler::server::wrapper::Parameters,
    model::{Implementation, ServerCapabilities, ServerConfig},
    schemars, tool, tool_handler, tool_router,
};
use serde::Deserialize;

use crate::{orphans, processes};

const MEBIBYTE: usize = 1024 * 1024;

/// What `allocate` took: kept until the process ends.
static TAKEN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Takes memory for good.
pub(crate) fn take(mebibytes: usize) {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Step by step, and each byte written: memory that is only asked for is not yet used.
    taken.extend((0..mebibytes).map(|_| vec![1; MEBIBYTE]));
}

#[derive(Clone)]
pub(crate) struct Misbehaving;

#[derive(Deserialize, schemars::JsonSchema)]
struct Exit {
    code: u8,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Hang {
    /// Not only this call but the whole process: it reads and writes nothing any more
    #[serde(default)]
    whole: bool,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Flood {
    /// How much to write to stderr
    mebibytes: usize,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Allocate {
    /// How much memory to take, and never to give back
    mebibytes: usize,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Fork {
    /// How many processes to leave behind
    count: u32,
    /// How long each of them lives
    millis: u64,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Slow {
    /// How long to wait before the answer
    millis: u64,
}

#[expect(clippy::unused_self, reason = "the router calls every tool as a method")]
#[tool_router]
impl Misbehaving {
    #[tool(description = "Tells the id of this process", annotations(read_only_hint = true))]
    fn pid(&self) -> String {
        process::id().to_string()
    }

    #[tool(description = "Tells which processes there are, as JSON", annotations(read_only_hint = true))]
    fn processes(&self) -> Result<String, String> {
        processes::all().map_err(|error| error.to_string())
    }

    #[tool(description = "Dies of SIGABRT, without an answer")]
    fn crash(&self) -> String {
        process::abort()
    }

    #[tool(description = "Ends with an exit code, without an answer")]
    fn exit(&self, Parameters(Exit { code }): Parameters<Exit>) -> String {
        process::exit(code.into())
    }

    #[tool(description = "Never answers")]
    async fn hang(&self, Parameters(Hang { whole }): Parameters<Hang>) -> String {
        if whole {
            // The one thread there is.
            loop {
                std::thread::park();
            }
        }
        std::future::pending().await
    }

    #[tool(description = "Answers late", annotations(read_only_hint = true))]
    async fn slow(&self, Parameters(Slow { millis }): Parameters<Slow>) -> String {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        "at last".to_owned()
    }

    #[tool(description = "Floods stderr, then answers")]
    fn flood(&self, Parameters(Flood { mebibytes }): Parameters<Flood>) -> Result<String, String> {
        let line = format!("{}\n", "all work and no play ".repeat(50));
        let mut stderr = std::io::stderr().lock();
        for _ in 0..(mebibytes * MEBIBYTE).div_ceil(line.len()) {
            stderr.write_all(line.as_bytes()).map_err(|error| error.to_string())?;
        }
        Ok(format!("wrote {mebibytes} MiB"))
    }

    #[tool(description = "Writes a line to stdout that is no message, then answers")]
    fn garble(&self) -> Result<String, String> {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(b"Loading, please wait...\n")
            .and_then(|()| stdout.flush())
            .map_err(|error| error.to_string())?;
        Ok("said something else".to_owned())
    }

    #[tool(description = "Takes memory for good")]
    fn allocate(&self, Parameters(Allocate { mebibytes }): Parameters<Allocate>) -> String {
        take(mebibytes);
        format!("took {mebibytes} MiB")
    }

    #[tool(description = "Leaves processes behind, to whoever is PID 1; answers their ids")]
    fn fork(&self, Parameters(Fork { count, millis }): Parameters<Fork>) -> Result<String, String> {
        let orphans: Result<Vec<String>, _> =
            (0..count).map(|_| orphans::abandon(millis).map(|id| id.to_string())).collect();
        orphans.map(|ids| ids.join(" ")).map_err(|error| error.to_string())
    }
}

#[tool_handler]
impl ServerHandler for Misbehaving {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("misbehaving-server", env!("CARGO_PKG_VERSION")))
    }
}
