//! The real servers, all behind one route.

use std::collections::BTreeSet;

use super::{
    cases::{Subject, assert_covered},
    everything, local,
    record::{
        LISTS, Offers, Record, differences, different_answers, different_offers, of_prefix, offers, record, replies,
    },
};
use crate::{
    gateway::{Gateway, Route},
    one_at_a_time,
    servers::{self, Server},
    tools::tool,
    wire::{Address, Answers, Era, Wire},
    workspace::{GIT_ENVIRONMENT, Workspace},
};

/// A server, how it is reached, and its prefix behind the gateway.
struct Member {
    prefix: &'static str,
    address: Address,
    subject: Subject,
}

/// `program` with exactly this environment, whoever starts it.
fn stdio(workspace: &Workspace, program: &[String]) -> Address {
    let path = std::env::var("PATH").unwrap();
    let home = workspace.home();
    let mut command: Vec<String> =
        vec!["/usr/bin/env".into(), "-i".into(), format!("PATH={path}"), format!("HOME={home}")];
    command.extend(GIT_ENVIRONMENT.iter().map(|(name, value)| format!("{name}={value}")));
    command.extend_from_slice(program);
    Address::Stdio(command)
}

fn members(workspace: &Workspace, http: &Server, sse: &Server) -> Vec<Member> {
    let node = tool("bin/node");
    let python = tool("venv/bin/python");
    let filesystem = tool("node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    let module = |name: &str, rest: &[&str]| {
        let mut program = vec![python.clone(), "-m".to_owned(), name.to_owned()];
        program.extend(rest.iter().map(|argument| (*argument).to_owned()));
        stdio(workspace, &program)
    };
    vec![
        Member {
            prefix: "es_",
            address: stdio(workspace, &[node.clone(), servers::everything(), "stdio".to_owned()]),
            subject: everything::subject("everything over stdio", true),
        },
        Member {
            prefix: "eh_",
            address: Address::Http(http.url.clone()),
            subject: everything::subject("everything over Streamable HTTP", false),
        },
        Member {
            prefix: "ee_",
            address: Address::Sse(sse.url.clone()),
            subject: everything::subject("everything over HTTP+SSE", false),
        },
        Member {
            prefix: "fs_",
            // It takes the client's root instead of this directory as soon as it knows it; so they are the same.
            address: stdio(workspace, &[node, filesystem, workspace.root()]),
            subject: local::filesystem(workspace),
        },
        Member {
            prefix: "git_",
            address: module("mcp_server_git", &["--repository", &workspace.repository()]),
            subject: local::git(workspace),
        },
        Member {
            prefix: "time_",
            address: module("mcp_server_time", &["--local-timezone", "UTC"]),
            subject: local::time(),
        },
    ]
}

async fn directly(member: &Member, workspace: &Workspace) -> Record {
    workspace.reset();
    let answers = Answers { root: workspace.root() };
    let (mut wire, _) = Wire::connect(&member.address, Era::Legacy, answers.clone()).await;
    wire.noise = everything::greets;
    let record = record(&mut wire, &member.subject, &answers).await;
    wire.close().await;
    assert_covered(&member.subject, &record);
    record
}

/// The first lists, tools and prompts, have names that take a prefix; the items of the others are known by a URI.
const NAMED: usize = 2;

/// What the members offer under URIs, together. Where two offer the same, the first does.
fn by_uri(direct: &[Record]) -> Offers {
    let mut merged: Offers = LISTS[NAMED..].iter().map(|(method, ..)| (*method, Vec::new())).collect();
    let mut taken = BTreeSet::new();
    for record in direct {
        for (((_, merged), (_, items)), (.., key)) in
            merged.iter_mut().zip(&record.offers[NAMED..]).zip(&LISTS[NAMED..])
        {
            for item in items {
                let value: serde_json::Value = serde_json::from_str(item).unwrap();
                if taken.insert(value[*key].as_str().unwrap().to_owned()) {
                    merged.push(item.clone());
                }
            }
        }
    }
    merged
}

/// Direct answers of every member, then those of all members behind one route, in one session.
async fn through_the_gateway(members: &[Member], workspace: &Workspace) -> Vec<String> {
    let mut direct = Vec::new();
    for member in members {
        direct.push(directly(member, workspace).await);
    }

    workspace.reset();
    let servers = members.iter().map(|member| (member.prefix, &member.address)).collect();
    let gateway = Gateway::start(&[Route { path: "/mcp", servers }]);
    let answers = Answers { root: workspace.root() };
    let (mut wire, _) = Wire::connect(&Address::Http(gateway.url("/mcp")), Era::Legacy, answers.clone()).await;
    wire.noise = everything::greets;

    let offered = offers(&mut wire).await;
    let mut found = Vec::new();
    for (member, direct) in members.iter().zip(&direct) {
        let name = member.subject.name;
        let (wanted, got) = (&direct.offers[..NAMED], &of_prefix(&offered, member.prefix)[..NAMED]);
        found.extend(different_offers(name, wanted, got));
        let proxied = replies(&mut wire, &member.subject, member.prefix, &answers).await;
        found.extend(different_answers(name, &direct.answers, &proxied));
    }
    found.extend(different_offers("all servers", &by_uri(&direct), &offered[NAMED..]));
    let left = wire.leftovers().await;
    if !left.is_empty() {
        found.push(format!("messages that no server sends by itself: {left:?}"));
    }
    wire.close().await;
    if !found.is_empty() {
        found.push(format!("gateway:\n{}", gateway.log()));
    }
    found
}

#[tokio::test]
async fn real_servers_answer_alike_behind_one_route() {
    let _turn = one_at_a_time().await;
    let workspace = Workspace::new();
    let http = Server::everything("streamableHttp", "/mcp");
    let sse = Server::everything("sse", "/sse");
    let found = through_the_gateway(&members(&workspace, &http, &sse), &workspace).await;
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// A check of the comparison itself: a difference between two direct runs would not be the gateway's.
#[tokio::test]
async fn two_direct_runs_of_real_servers_are_equal() {
    let _turn = one_at_a_time().await;
    let workspace = Workspace::new();
    let http = Server::everything("streamableHttp", "/mcp");
    let sse = Server::everything("sse", "/sse");
    let mut found = Vec::new();
    for member in members(&workspace, &http, &sse) {
        let first = directly(&member, &workspace).await;
        let second = directly(&member, &workspace).await;
        found.extend(differences(member.subject.name, &first, &second));
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}
