//! The conformance suite, through the gateway onto the fixture server: every server scenario of every revision.
//!
//! No failure is expected, so there is no list of expected ones. Run it with `make conformance`.

use std::process::{Command, Stdio};

use crate::{
    gateway::{Gateway, Route},
    one_at_a_time,
    replicas::Replicated,
    servers::Server,
    tools::{example, tool},
    wire::Address,
};

/// A run of the suite.
struct Run {
    name: &'static str,
    arguments: &'static [&'static str],
    /// How many scenarios the suite's pinned version has for it: fewer would mean that it did not run as a whole.
    scenarios: usize,
}

const RUNS: [Run; 5] = [
    Run { name: "2025-03-26", arguments: &["--suite", "all", "--spec-version", "2025-03-26"], scenarios: 1 },
    Run { name: "2025-06-18", arguments: &["--suite", "all", "--spec-version", "2025-06-18"], scenarios: 27 },
    Run { name: "2025-11-25", arguments: &["--suite", "all", "--spec-version", "2025-11-25"], scenarios: 33 },
    Run { name: "2026-07-28", arguments: &["--suite", "all", "--spec-version", "2026-07-28"], scenarios: 40 },
    // What the revision requires, and what is beyond it: tasks.
    Run { name: "2026-07-28 with tasks", arguments: &["--requirements", "2026-07-28"], scenarios: 50 },
];

/// What came of a run.
struct Outcome {
    passed: usize,
    failed: usize,
    scenarios: usize,
    report: String,
}

fn run(url: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(tool("bin/node"))
        .arg(tool("node_modules/@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", url])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let total = report.lines().find_map(|line| line.strip_prefix("Total: "));
    let numbers = total.and_then(|total| {
        let (passed, failed) = total.split_once(" passed, ")?;
        Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
    });
    let (passed, failed) = numbers.unwrap_or_else(|| panic!("the suite did not finish:\n{report}"));
    assert_eq!(output.status.success(), failed == 0, "{report}");
    let scenarios = report.lines().filter(|line| line.starts_with(['\u{2713}', '\u{2717}'])).count();
    Outcome { passed, failed, scenarios, report }
}

/// Runs everything against `url`, prints the counts, and returns the reports of the runs that were not as they should be.
fn failures(what: &str, url: &str) -> Vec<String> {
    let mut reports = Vec::new();
    for Run { name, arguments, scenarios } in RUNS {
        let outcome = run(url, arguments);
        println!("{what}, {name}: {} passed, {} failed", outcome.passed, outcome.failed);
        if outcome.failed > 0 || outcome.scenarios != scenarios {
            reports.push(format!("{what}, {name}: {scenarios} scenarios should pass\n{}", outcome.report));
        }
    }
    reports
}

#[tokio::test]
#[ignore = "its own suite: make conformance"]
async fn conformance() {
    let _turn = one_at_a_time().await;
    let fixture = Server::fixture();
    let http = Address::Http(fixture.url.clone());
    let stdio = Address::Stdio(vec![example("fixture-server").to_str().unwrap().to_owned(), "--stdio".to_owned()]);
    let gateway = Gateway::start(&[
        Route { path: "/mcp", servers: vec![("", &http)] },
        Route { path: "/stdio", servers: vec![("", &stdio)] },
    ]);
    let mut reports = failures("Streamable HTTP", &gateway.url("/mcp"));
    reports.extend(failures("stdio", &gateway.url("/stdio")));
    assert!(reports.is_empty(), "{}\ngateway:\n{}", reports.join("\n\n"), gateway.log());
}

/// Two replicas and a balancer without affinity in the place of the one gateway: nothing may depend on which one is reached.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "its own suite: make conformance"]
async fn conformance_of_replicas() {
    let _turn = one_at_a_time().await;
    let fixture = Server::fixture();
    let http = Address::Http(fixture.url.clone());
    let gateway = Replicated::start(&[Route { path: "/mcp", servers: vec![("", &http)] }]).await;
    let reports = failures("two replicas", &gateway.url("/mcp"));
    assert!(reports.is_empty(), "{}\ngateway:\n{}", reports.join("\n\n"), gateway.log());
    gateway.assert_both_worked().await;
}

/// The fixture alone: with a failure here, the gateway is not to blame.
#[tokio::test]
#[ignore = "a check of the fixture: cargo test --test interop conformance_of_the_fixture -- --ignored"]
async fn conformance_of_the_fixture() {
    let _turn = one_at_a_time().await;
    let fixture = Server::fixture();
    let reports = failures("directly", &fixture.url);
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
}
