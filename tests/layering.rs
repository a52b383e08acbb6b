//! Holds the layering rule of `src/lib.rs`: who may import whom, who may do I/O, and what the data plane links.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used)]

#[path = "layering/scan.rs"]
mod scan;

use std::path::{Path, PathBuf};
use std::process::Command;

/// What one folder of `src/` may name.
struct Layer {
    name: &'static str,
    /// Paths under `crate::` that it may use besides its own.
    uses: &'static [&'static str],
    /// No files, sockets, processes, environment, clock or async runtime.
    pure: bool,
    /// Paths under `kube::` that it may use.
    kube: &'static [&'static str],
}

/// Every folder of `src/`.
const LAYERS: &[Layer] = &[
    // The derives, and the traits and schema helpers that the code they generate needs: no client.
    Layer {
        name: "api",
        uses: &[],
        pure: true,
        kube: &["CustomResource", "CustomResourceExt", "KubeSchema", "CELSchema", "core", "Resource", "ResourceExt"],
    },
    Layer { name: "ir", uses: &[], pure: true, kube: &[] },
    Layer { name: "translate", uses: &["api", "ir"], pure: true, kube: &[] },
    Layer { name: "net", uses: &[], pure: false, kube: &[] },
    Layer { name: "shim", uses: &["ir", "net", "gateway::mcp", "gateway::error"], pure: false, kube: &[] },
    Layer { name: "gateway", uses: &["api", "ir", "translate", "net", "shim"], pure: false, kube: &[] },
    Layer { name: "operator", uses: &["api", "ir", "translate"], pure: false, kube: &["*"] },
    Layer {
        name: "cli",
        uses: &["api", "ir", "translate", "net", "shim", "gateway", "operator"],
        pure: false,
        kube: &[],
    },
];

/// Folders inside a layer that are pure although the layer is not, and all that they may use under `crate::` besides themselves.
const PURE_ROOMS: &[(&[&str], &[&str])] = &[(&["gateway", "balance"], &["ir::snapshot"])];

/// Crates of which only the operator may name anything, and `api` what [`Layer::kube`] lists.
const KUBE: &[&str] = &["kube", "kube_client", "kube_core", "kube_derive", "kube_runtime"];

/// What touches the world outside the program.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::self",
    "std::time::*",
    "std::*",
    "tokio",
    "hyper",
    "hyper_util",
    "axum",
    "rand",
    "rustix",
    "socket2",
    "notify",
    "getrandom",
];

/// Names under `std::net` that are only numbers.
const ADDRESSES: &[&str] =
    &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"];

#[test]
fn every_import_keeps_to_its_layer() {
    let broken: Vec<String> = sources()
        .iter()
        .flat_map(|file| {
            let module = module_of(file);
            let module: Vec<&str> = module.iter().map(String::as_str).collect();
            let source = std::fs::read_to_string(Path::new("src").join(file)).unwrap();
            violations(&source, &module).into_iter().map(|what| format!("src/{}: {what}", file.display()))
        })
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_data_plane_links_no_kubernetes_client() {
    let linked = linked_crates(&["--no-default-features", "--features", "gateway"]);
    let found: Vec<&String> =
        linked.iter().filter(|name| ["kube-client", "kube-runtime"].contains(&name.as_str())).collect();
    assert!(found.is_empty(), "the gateway links {found:?}");
    assert!(linked.iter().any(|name| name == "hyper"), "the list is not the gateway's: {linked:?}");
}

#[test]
fn the_operator_links_one() {
    // Shows that the check above can fail.
    let linked = linked_crates(&["--no-default-features", "--features", "operator"]);
    assert!(linked.iter().any(|name| name == "kube-client"), "{linked:?}");
}

#[test]
fn only_the_data_plane_links_what_exports_traces() {
    let exports = |feature: &str| {
        let linked = linked_crates(&["--no-default-features", "--features", feature]);
        linked.iter().any(|name| ["opentelemetry-otlp", "tonic"].contains(&name.as_str()))
    };
    assert!(exports("gateway"));
    assert!(!exports("operator"));
}

#[test]
fn each_rule_can_be_broken() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&["ir"], "use kube::Client;", "kube::Client"),
        (&["gateway", "upstream"], "fn a(c: kube::Client) {}", "kube::Client"),
        (&["shim"], "use kube_runtime::watcher;", "kube_runtime::watcher"),
        (&["api"], "use kube::{CustomResource, Api};", "kube::Api"),
        (&["ir"], "fn a() { std::fs::read(\"x\"); }", "std::fs::read"),
        (&["translate"], "use std::time::{Duration, Instant};", "std::time::Instant"),
        (&["translate"], "use std::net::TcpStream;", "std::net::TcpStream"),
        (&["api"], "use tokio::spawn;", "tokio::spawn"),
        (&["ir"], "use std::time; fn a() { time::SystemTime::now(); }", "time::SystemTime::now"),
        (&["ir", "ids"], "use super::super::gateway::mcp;", "crate::gateway::mcp"),
        (&["translate"], "use crate::{ir, shim::Child};", "crate::shim::Child"),
        (&["operator"], "use crate::gateway::admin;", "crate::gateway::admin"),
        (&["gateway"], "use crate::operator::push;", "crate::operator::push"),
        (&["shim"], "use crate::gateway::upstream::Pool;", "crate::gateway::upstream::Pool"),
        (&["unknown"], "use crate::ir::ids;", "no layer"),
        (&["gateway", "balance"], "use tokio::time::sleep;", "tokio::time::sleep"),
        (&["gateway", "balance", "walk"], "fn a() { std::time::Instant::now(); }", "std::time::Instant::now"),
        (&["gateway", "balance", "hash"], "use std::hash::{RandomState, Hash};", "std::hash::RandomState"),
        (&["gateway", "balance", "walk"], "use super::super::upstream::Group;", "crate::gateway::upstream::Group"),
    ];
    for (module, source, named) in cases {
        let found = violations(source, module);
        assert!(found.iter().any(|what| what.contains(named)), "{module:?}: {source}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    let cases: &[(&[&str], &str)] = &[
        (&["api"], "use kube::CustomResource; #[derive(CustomResource)] #[kube(kind = \"A\")] struct A;"),
        (&["ir"], "use std::io::{Read, Write}; use std::time::Duration; use std::net::IpAddr; // std::fs"),
        (
            &["translate"],
            "use crate::ir::snapshot::Snapshot; use super::api::A; #[cfg(test)] mod tests { use std::fs; }",
        ),
        (&["shim"], "use crate::gateway::mcp::sse; use tokio::process;"),
        (&["operator"], "use kube::Client; use std::time::Instant;"),
        (&["gateway", "balance", "walk"], "use super::time::Moment; use crate::ir::snapshot::Failover;"),
        (&["gateway", "upstream"], "use crate::gateway::balance::Balancer; use std::time::Instant;"),
    ];
    for (module, source) in cases {
        assert_eq!(violations(source, module), Vec::<String>::new(), "{module:?}: {source}");
    }
}

/// What `source` names and must not, as a member of the module `module`.
fn violations(source: &str, module: &[&str]) -> Vec<String> {
    let Some(layer) = LAYERS.iter().find(|layer| Some(&layer.name) == module.first()) else {
        return vec![format!("{module:?} belongs to no layer: name it in tests/layering.rs")];
    };
    let room = PURE_ROOMS.iter().find(|(room, _)| module.starts_with(room));
    let refused = |path: &str| refusal(layer, path).or_else(|| room.and_then(|(room, uses)| strayed(room, uses, path)));
    let paths = scan::paths(source, module).into_iter();
    paths.filter_map(|path| refused(&path).map(|why| format!("{path}: {why}"))).collect()
}

fn refusal(layer: &Layer, path: &str) -> Option<&'static str> {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    if first == "crate" {
        let own_or_used = std::iter::once(&layer.name).chain(layer.uses).any(|allowed| is_within(rest, allowed));
        return (!own_or_used).then_some("not a layer it may use");
    }
    if KUBE.contains(&first) {
        let allowed =
            layer.kube.contains(&"*") || (first == "kube" && layer.kube.iter().any(|name| is_within(rest, name)));
        return (!allowed).then_some("only the operator talks to the API server");
    }
    if layer.pure { impurity(path) } else { None }
}

/// What a pure room inside of a layer may not name.
fn strayed(room: &[&str], uses: &[&str], path: &str) -> Option<&'static str> {
    let Some(own) = path.strip_prefix("crate::") else { return impurity(path) };
    let is_allowed =
        std::iter::once(&*room.join("::")).chain(uses.iter().copied()).any(|allowed| is_within(own, allowed));
    (!is_allowed).then_some("not a room it may use")
}

fn impurity(path: &str) -> Option<&'static str> {
    let is_address =
        path.strip_prefix("std::net::").is_some_and(|name| ADDRESSES.iter().any(|only| is_within(name, only)));
    // A clock is recognised by its name too, however its module was imported.
    let is_clock = path.split("::").any(|word| word == "Instant" || word == "SystemTime");
    let is_random = path.ends_with("RandomState");
    let impure = is_clock || is_random || IMPURE.iter().any(|outside| is_within(path, outside));
    (impure && !is_address).then_some("a pure layer does no I/O and reads no clock")
}

/// Whether `path` is `prefix` or goes on from it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The module a file of `src/` holds: `gateway/mcp/mod.rs` is `gateway::mcp`.
fn module_of(file: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        file.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod");
    names
}

/// Every source file below a folder of `src/`, relative to it. Binaries and the crate's root are thin and may use everything.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("src").unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir() && !path.ends_with("bin"));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
                files.push(path.strip_prefix("src").unwrap().to_owned());
            }
        }
    }
    assert!(files.len() > 10, "the sources were not found: {files:?}");
    files
}

/// Names of the crates in a build of the library with these features.
fn linked_crates(features: &[&str]) -> Vec<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(features)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
