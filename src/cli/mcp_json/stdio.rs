//! From a command of a desktop to a program in a pod: which image has it, and what of the command stays.

use super::server::{PLACEHOLDER, ServerImport};
use serde_json::{Map, Value};

/// The image of a backend that runs as a local process: never pulled.
pub(super) const LOCAL_IMAGE: &str = "local";

/// Images by the program that an entry starts.
const LAUNCHERS: [(&[&str], &str); 4] = [
    (&["npx", "npm", "node", "pnpm", "yarn", "corepack"], "docker.io/library/node:24"),
    (&["uvx", "uv", "python", "python3", "pipx"], "ghcr.io/astral-sh/uv:python3.13-bookworm"),
    (&["bunx", "bun"], "docker.io/oven/bun:1"),
    (&["deno"], "docker.io/denoland/deno:2"),
];

/// Options of `docker run` that take a value in the next word.
const DOCKER_VALUE_OPTIONS: [&str; 22] = [
    "-e",
    "--env",
    "--env-file",
    "-v",
    "--volume",
    "--mount",
    "--name",
    "-p",
    "--publish",
    "--network",
    "--net",
    "-w",
    "--workdir",
    "-u",
    "--user",
    "--entrypoint",
    "--platform",
    "--add-host",
    "-l",
    "--label",
    "--memory",
    "--cpus",
];

/// A program and the image that has it.
pub(super) struct Program {
    pub(super) image: String,
    /// The command, then its arguments; never empty.
    pub(super) words: Vec<String>,
}

/// The program as a pod runs it.
pub(super) fn in_pod(server: &mut ServerImport<'_>, words: Vec<String>, env: &mut Map<String, Value>) -> Program {
    let words = without_shell(words);
    let program = words.first().map(String::as_str).unwrap_or_default();
    let base = base_name(program).to_owned();
    if matches!(base.as_str(), "docker" | "podman") && words.get(1).is_some_and(|word| word == "run") {
        return container(server, &words[2..], env);
    }
    let known = LAUNCHERS.iter().find(|(programs, _)| programs.contains(&base.as_str()));
    let Some((_, image)) = known else {
        let image = format!("{PLACEHOLDER}/image-with-{}:tag", super::dns_label(&base));
        server.warn(format!("spec.stdio.image is {image}: no image is known to have this program; write one that has"));
        return Program { image, words };
    };
    server.warn(format!(
        "runs in {image}: pin a version or build an image with the server in it, so that a start downloads nothing"
    ));
    if words.iter().skip(1).any(|word| is_local_path(word)) {
        server.warn("an argument is a path of your machine: mount what it needs with spec.podTemplate, and write the path in the pod");
    }
    let mut words = words;
    base.clone_into(&mut words[0]);
    Program { image: (*image).to_owned(), words }
}

/// Windows hosts start programs by `cmd /c`.
fn without_shell(mut words: Vec<String>) -> Vec<String> {
    let is_shell = words.len() > 2
        && matches!(words[0].to_ascii_lowercase().as_str(), "cmd" | "cmd.exe")
        && words[1].eq_ignore_ascii_case("/c");
    if is_shell {
        words.drain(..2);
    }
    words
}

/// `npx` of `C:\nodejs\npx.cmd` and of `/usr/bin/npx`.
fn base_name(program: &str) -> &str {
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    [".exe", ".cmd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn is_local_path(word: &str) -> bool {
    let home = ["/home/", "/Users/", "~/", "./", "../"];
    home.iter().any(|start| word.starts_with(start)) || word.get(1..3) == Some(":\\")
}

/// `docker run …` as what it runs.
fn container(server: &mut ServerImport<'_>, options: &[String], env: &mut Map<String, Value>) -> Program {
    let given = std::mem::take(env);
    let mut entry_point = None;
    let mut words = options.iter();
    let mut image = None;
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            image = Some(word.clone());
            break;
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value.to_owned())),
            _ if DOCKER_VALUE_OPTIONS.contains(&word.as_str()) => (word.as_str(), words.next().cloned()),
            _ => (word.as_str(), None),
        };
        match (option, value) {
            ("-e" | "--env", Some(variable)) => {
                let (name, value) = match variable.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.into()),
                    // Handed through: the entry's own variable, or the host's.
                    None => (
                        variable.clone(),
                        given.get(&variable).cloned().unwrap_or_else(|| format!("${{{variable}}}").into()),
                    ),
                };
                env.insert(name, value);
            }
            ("--entrypoint", Some(program)) => entry_point = Some(program),
            ("-i" | "--interactive" | "-t" | "--tty" | "-it" | "-ti" | "--rm" | "--init" | "--name" | "--pull", _) => {}
            (option, _) => server.warn(format!(
                "docker's {option} is not carried over: say it in spec.podTemplate if the server needs it"
            )),
        }
    }
    let image = image.unwrap_or_else(|| {
        server.warn(format!("no image was found after docker run: spec.stdio.image is {PLACEHOLDER}"));
        PLACEHOLDER.to_owned()
    });
    let first = entry_point.unwrap_or_else(|| {
        server.warn(format!(
            "spec.stdio.command is {PLACEHOLDER}: Kubernetes does not tell an image's entry point; docker inspect -f '{{{{json .Config.Entrypoint}}}} {{{{json .Config.Cmd}}}}' {image} does"
        ));
        PLACEHOLDER.to_owned()
    });
    Program { image, words: std::iter::once(first).chain(words.cloned()).collect() }
}
