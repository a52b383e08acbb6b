//! Starts servers that listen on the network, and tells where.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::tools::{example, tool};

/// How long a server may take to listen: Node.js on a busy machine is slow to start.
const START: Duration = Duration::from_secs(30);

/// A process that ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// The fixture server over HTTP.
    pub(crate) fn fixture() -> Self {
        let program = example("fixture-server");
        let mut child = Command::new(&program)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo build --examples`", program.display()));
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    /// The demo server over HTTP, by this name.
    pub(crate) fn demo(name: &str) -> Self {
        let mut child = Command::new(example("demo-mcp-server"))
            .args(["--name", name, "--http", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the demo server is built with the tests");
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Self { child, url }
    }

    /// `server-everything`, with `streamableHttp` or `sse`.
    pub(crate) fn everything(transport: &str, path: &str) -> Self {
        // The server takes no port 0, so one is found for it. Nobody else takes it in the meantime: tests run one by one.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(tool("bin/node"))
            .args([&everything(), transport])
            .env_clear()
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}{path}") };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(start.elapsed() < START, "server-everything {transport} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

pub(crate) fn everything() -> String {
    tool("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}
