//! The conformance suite, through the gateway onto the fixture server: every server scenario of every revision.
//!
//! No failure is expected, so there is no list of expected ones. Run it with `make conformance`.

use std::process::{Command, Stdio};

use crate::{
    gateway::{Gateway, Route},
    one_at_a_time,
    servers::Server,
    tools::{example, tool},
    wire::Address,
};

/// What is run: a name for the report, and the arguments that choose the scenarios.
const RUNS: [(&str, &[&str]); 5] = [
    ("2025-03-26", &["--suite", "all", "--spec-version", "2025-03-26"]),
    ("2025-06-18", &["--suite", "all", "--spec-version", "2025-06-18"]),
    ("2025-11-25", &["--suite", "all", "--spec-version", "2025-11-25"]),
    ("2026-07-28", &["--suite", "all", "--spec-version", "2026-07-28"]),
    // What the revision requires, and the extensions with it: tasks.
    ("2026-07-28 and its extensions", &["--requirements", "2026-07-28"]),
];

/// Fewer checks than the suite has would mean that it did not run as a whole: the counts are those of its pinned version.
const CHECKS: [usize; 5] = [3, 56, 83, 153, 197];

/// The suite's checks that passed and failed, and its report.
fn run(url: &str, arguments: &[&str]) -> (usize, usize, String) {
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
    (passed, failed, report)
}

/// Runs everything against `url`, prints the counts, and returns the reports of runs with failures.
fn failures(what: &str, url: &str) -> Vec<String> {
    let mut reports = Vec::new();
    for ((name, arguments), checks) in RUNS.into_iter().zip(CHECKS) {
        let (passed, failed, report) = run(url, arguments);
        println!("{what}, {name}: {passed} passed, {failed} failed");
        if failed > 0 || passed != checks {
            reports.push(format!("{what}, {name}: {passed} of {checks} passed, {failed} failed\n{report}"));
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

/// The fixture alone: with a failure here, the gateway is not to blame.
#[tokio::test]
#[ignore = "a check of the fixture: cargo test --test interop conformance_of_the_fixture -- --ignored"]
async fn conformance_of_the_fixture() {
    let _turn = one_at_a_time().await;
    let fixture = Server::fixture();
    let reports = failures("directly", &fixture.url);
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
}
