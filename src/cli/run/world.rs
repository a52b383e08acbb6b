//! From files and flags to a generation.

use super::WorldArgs;
use super::flags::SecretFlag;
use crate::api::conditions::{ConditionStatus, Finding};
use crate::cli::Failure;
use crate::cli::manifests::check;
use crate::cli::mcp_json::{ImportOptions, Imported, Purpose, is_mcp_json, manifests_from_mcp_json};
use crate::gateway::config::{Found, Rank, Source, Unread};
use crate::ir::generation::Generation;
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::secrets::{Credentials, PrivateBytes};
use crate::ir::snapshot::Snapshot;
use crate::translate::facts::Content;
use crate::translate::manifests::{MAX_FILE_BYTES, Manifest};
use crate::translate::{GatewayPlan, Inputs, LaptopFlags, Plan, translate};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What `run` serves, read anew whenever a file changes.
pub(super) struct World {
    args: WorldArgs,
    /// Seals session ids for as long as this process runs, across reloads.
    keyring: PrivateBytes,
    /// What was read last, and what came of it: a look that finds the same files does nothing.
    last: Mutex<Option<Reading>>,
}

/// The files' texts, and what came of them.
struct Reading {
    texts: Vec<String>,
    result: Result<Generation, String>,
}

/// What can be wrong and yet leave something to serve, a line each.
type Problems = Vec<String>;

/// Values by the Secret's name and key; a flag has no namespace.
type SecretValues = BTreeMap<(String, String), PrivateBytes>;

impl World {
    pub(super) fn new(args: WorldArgs) -> Result<Self, Failure> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| Failure::new(format!("no random numbers: {error}")))?;
        Ok(Self { args, keyring: PrivateBytes::new(key), last: Mutex::default() })
    }

    /// Reads and translates the files. An error is what leaves nothing to serve, a line each.
    pub(super) fn load(&self) -> Result<(Generation, Problems), String> {
        self.translate(&self.texts()?)
    }

    fn texts(&self) -> Result<Vec<String>, String> {
        self.args.files.iter().map(|file| read(file).map_err(|error| format!("{}: {error}", file.display()))).collect()
    }

    fn translate(&self, texts: &[String]) -> Result<(Generation, Problems), String> {
        let Files { manifests, mut secrets, mut problems } = self.manifests(texts)?;
        for SecretFlag { secret, key, value } in &self.args.secrets {
            secrets.insert((secret.clone(), key.clone()), value.clone());
        }
        let flags = LaptopFlags {
            backends: self.args.backends.iter().map(|flag| (flag.name.clone(), flag.url.clone())).collect(),
            secrets: secrets.iter().map(|(name, value)| (name.clone(), Content::of(value.expose()))).collect(),
            bound_to_loopback: self.args.bind.is_loopback(),
        };
        let inputs = Inputs::on_laptop(manifests, flags).map_err(|error| error.to_string())?;
        let mut plan = translate(&inputs);
        problems.extend(untrue_conditions(&plan));
        let (id, gateway) = self.chosen(&mut plan)?;
        let nothing = |reason: String| {
            if problems.is_empty() { reason } else { problems.join("\n") }
        };
        let snapshot = gateway
            .snapshot
            .ok_or_else(|| nothing(format!("MCPGateway {id} cannot be served: its spec is not valid")))?;
        if snapshot.routes.is_empty() {
            return Err(nothing(format!("no MCPRoute is attached to MCPGateway {id}: name it in spec.parentRefs")));
        }
        if snapshot.backends.is_empty() {
            return Err(nothing(format!("no MCPBackend can be used by the routes of MCPGateway {id}")));
        }
        let snapshot = self.on_this_machine(snapshot)?;
        let credentials = Credentials {
            values: values(&gateway.secrets, &secrets),
            keyring: vec![self.keyring.clone()],
            channels: None,
        };
        Ok((Generation { snapshot, credentials }, problems))
    }

    /// What all files hold, or every mistake in them.
    fn manifests(&self, texts: &[String]) -> Result<Files, String> {
        let mut files = Files::default();
        let mut mistakes = Vec::new();
        for (file, text) in self.args.files.iter().zip(texts) {
            let name = file.display().to_string();
            if file.extension().is_some_and(|extension| extension == "json") && is_mcp_json(text) {
                let variable = |name: &str| std::env::var(name).ok();
                match manifests_from_mcp_json(text, &ImportOptions::new(Purpose::Laptop(&variable))) {
                    Ok(imported) => mistakes.extend(files.import(&name, imported)),
                    Err(mistake) => mistakes.push(format!("{name} {mistake}")),
                }
            } else {
                let loaded = check(&name, text);
                files.manifests.extend(loaded.manifests);
                mistakes.extend(loaded.mistakes.iter().map(ToString::to_string));
            }
        }
        if mistakes.is_empty() { Ok(files) } else { Err(mistakes.join("\n")) }
    }

    /// The gateway to serve: the only one, or the one that was named.
    fn chosen(&self, plan: &mut Plan) -> Result<(ObjectId, GatewayPlan), String> {
        let names: Vec<String> = plan.gateways.keys().map(ToString::to_string).collect();
        let listed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let wanted = |id: &ObjectId| match &self.args.gateway {
            Some(name) => id.name == *name || id.to_string() == *name,
            None => true,
        };
        let gateways = std::mem::take(&mut plan.gateways);
        let mut found = gateways.into_iter().filter(|(id, _)| wanted(id));
        match (found.next(), found.next(), &self.args.gateway) {
            (Some(one), None, _) => Ok(one),
            (Some(_), Some(_), _) => {
                Err(format!("the files define several MCPGateways: choose one with --gateway ({listed})"))
            }
            (None, _, Some(name)) => {
                Err(format!("--gateway {name}: the files define no such MCPGateway; there is {listed}"))
            }
            (None, _, None) => Err("the files define no MCPGateway: add one, with a listener".to_owned()),
        }
    }

    /// The snapshot with what is different on a laptop.
    fn on_this_machine(&self, mut snapshot: Snapshot) -> Result<Snapshot, String> {
        if let Some(port) = self.args.port {
            let ports: BTreeSet<u16> = snapshot.listeners.iter().map(|listener| listener.port).collect();
            if ports.len() > 1 {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "--port: the gateway listens on several ports ({}); leave it out",
                    ports.join(", ")
                ));
            }
            snapshot.listeners.iter_mut().for_each(|listener| listener.port = port);
        }
        // No load balancer has to take note first.
        snapshot.drain.min_duration_ms = 0;
        Ok(snapshot)
    }
}

/// What the files hold.
#[derive(Default)]
struct Files {
    manifests: Vec<Manifest>,
    secrets: SecretValues,
    problems: Problems,
}

impl Files {
    /// Adds what an `.mcp.json` became; mistakes are those of its servers' fields.
    fn import(&mut self, file: &str, imported: Imported) -> Vec<String> {
        let loaded = check(file, &imported.yaml());
        self.manifests.extend(loaded.manifests);
        self.problems.extend(imported.warnings.iter().map(|warning| format!("{file}: {warning}")));
        let values = imported.secrets.into_iter();
        self.secrets.extend(values.filter_map(|secret| Some(((secret.name, secret.key), secret.value?))));
        // Lines would be those of the manifests, which nobody sees.
        loaded.mistakes.iter().map(|mistake| format!("{file}: {}: {}", mistake.field, mistake.message)).collect()
    }
}

impl Source for World {
    fn directories(&self) -> Vec<PathBuf> {
        let parents = self.args.files.iter().map(|file| match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        });
        parents.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn read(&self) -> Result<Found, Unread> {
        let rank = Rank::default();
        let found = self.current().map(|generation| Found { generation, rank });
        found.map_err(|reason| Unread::Unusable { reason, rank })
    }
}

impl World {
    /// What the files say now. It is put together again only when they changed.
    fn current(&self) -> Result<Generation, String> {
        let texts = self.texts()?;
        let mut last = self.last.lock();
        if let Some(before) = last.as_ref().filter(|before| before.texts == texts) {
            return before.result.clone();
        }
        let result = self.translate(&texts).map(|(generation, problems)| {
            for problem in problems {
                tracing::warn!("{problem}");
            }
            generation
        });
        *last = Some(Reading { texts, result: result.clone() });
        result
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than is allowed, so that a longer file is refused and not cut.
    std::fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The values of exactly these keys. What is missing, translation has told.
fn values(keys: &BTreeSet<SecretKey>, secrets: &SecretValues) -> BTreeMap<SecretKey, PrivateBytes> {
    let value = |key: &SecretKey| secrets.get(&(key.secret.name.clone(), key.key.clone()));
    keys.iter().filter_map(|key| Some((key.clone(), value(key)?.clone()))).collect()
}

/// Every condition that does not hold, as a line for a person.
fn untrue_conditions(plan: &Plan) -> Problems {
    let mut lines = Vec::new();
    let mut tell = |object: String, conditions: &[Finding]| {
        let untrue = conditions.iter().filter(|finding| finding.status != ConditionStatus::True);
        lines.extend(untrue.map(|finding| {
            format!("{object}: {} ({}={})", finding.message, finding.type_.as_str(), finding.reason.as_str())
        }));
    };
    for (id, gateway) in &plan.gateways {
        tell(format!("MCPGateway {id}"), &gateway.conditions);
        for listener in &gateway.listeners {
            tell(format!("MCPGateway {id}, listener {}", listener.name), &listener.conditions);
        }
    }
    for (id, backend) in &plan.backends {
        tell(format!("MCPBackend {id}"), &backend.conditions);
    }
    for (id, route) in &plan.routes {
        route.parents.iter().for_each(|parent| tell(format!("MCPRoute {id}"), &parent.conditions));
    }
    for (id, policy) in &plan.auth_policies {
        tell(format!("MCPAuthPolicy {id}"), &policy.conditions);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::snapshot::Target;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        world: WorldArgs,
    }

    const MANIFESTS: &str = "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: gw}
spec: {listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: files}
spec: {stdio: {image: node, command: [npx], env: [{name: KEY, valueFrom: {secretKeyRef: {name: s, key: k}}}]}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: web}
spec: {service: {name: web, port: 80}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPRoute
metadata: {name: tools}
spec:
  parentRefs: [{name: gw}]
  servers: [{name: files, backendRefs: [{name: files}]}, {name: web, backendRefs: [{name: web}]}]
";

    fn world(text: &str, flags: &[&str]) -> (tempfile::TempDir, World) {
        let home = tempfile::tempdir().unwrap();
        let (file, secret) = (home.path().join("a.yaml"), home.path().join("secret"));
        std::fs::write(&file, text).unwrap();
        std::fs::write(&secret, "hunter2").unwrap();
        let secret_flag = format!("s.k=@{}", secret.display());
        let mut arguments = vec!["x", file.to_str().unwrap(), "--secret", &secret_flag];
        arguments.extend(flags);
        let args = Command::try_parse_from(arguments).unwrap().world;
        (home, World::new(args).unwrap())
    }

    #[test]
    fn manifests_and_flags_make_a_generation() {
        let (_home, world) = world(MANIFESTS, &["--backend", "web=http://localhost:1/mcp", "--port", "0"]);
        let (generation, problems) = world.load().unwrap();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(generation.snapshot.listeners[0].port, 0);
        assert_eq!(generation.snapshot.routes[0].servers.len(), 2);
        let files = &generation.snapshot.backends[&ObjectId::new("default", "files")];
        assert!(matches!(&files.target, Target::Process(process) if process.command == ["npx"]));
        let value = generation.credentials.get(&SecretKey::new("default", "s", "k")).unwrap();
        assert_eq!(value.expose(), b"hunter2");
        assert!(!serde_json::to_string(&generation.snapshot).unwrap().contains("hunter2"));
        assert_eq!(generation.credentials.keyring[0].expose().len(), 32);
    }

    #[test]
    fn what_needs_a_cluster_is_told_with_the_flag_that_helps() {
        let (_home, world) = world(MANIFESTS, &[]);
        let (generation, problems) = world.load().unwrap();
        assert_eq!(generation.snapshot.backends.len(), 1, "the other one is served");
        assert!(problems.iter().any(|problem| problem.contains("--backend web=URL")), "{problems:?}");
    }

    #[test]
    fn beyond_the_loopback_a_route_without_a_policy_is_refused() {
        let (_home, world) = world(MANIFESTS, &["--backend", "web=http://localhost:1/mcp", "--bind", "0.0.0.0"]);
        let reason = world.load().unwrap_err();
        assert!(reason.contains("MCPAuthPolicy") && reason.contains("Unauthenticated"), "{reason}");
    }

    #[test]
    fn every_mistake_is_a_line_with_its_place() {
        let (_home, world) =
            world(&MANIFESTS.replace("port: 8080", "prot: 8080").replace("parentRefs", "parentRef"), &[]);
        let reason = world.load().unwrap_err();
        assert!(reason.lines().count() >= 2 && reason.contains("a.yaml:4:") && reason.contains("prot"), "{reason}");
    }

    #[test]
    fn an_mcp_json_is_taken_as_it_is_and_shows_no_secret() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".mcp.json");
        let text = r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "server"], "env": {"API_TOKEN": "hunter2hunter2"}},
            "web": {"type": "http", "url": "http://localhost:1/mcp"}
        }}"#;
        std::fs::write(&file, text).unwrap();
        let world = World::new(Command::try_parse_from(["x", file.to_str().unwrap()]).unwrap().world).unwrap();
        let (generation, _) = world.load().unwrap();
        assert_eq!(generation.snapshot.backends.len(), 2);
        assert!(!serde_json::to_string(&generation.snapshot).unwrap().contains("hunter2"));
        assert!(generation.credentials.values.values().any(|value| value.expose() == b"hunter2hunter2"));

        std::fs::write(&file, "{").unwrap();
        let reason = world.load().unwrap_err();
        assert!(reason.contains(".mcp.json"), "{reason}");
    }

    #[test]
    fn the_same_files_are_translated_once_and_changed_ones_anew() {
        let (home, world) = world(MANIFESTS, &["--backend", "web=http://localhost:1/mcp"]);
        let first = Source::read(&world).unwrap();
        assert_eq!(Source::read(&world).unwrap(), first);
        std::fs::write(home.path().join("a.yaml"), MANIFESTS.replace("8080", "8081")).unwrap();
        assert_eq!(Source::read(&world).unwrap().generation.snapshot.listeners[0].port, 8081);
        assert_eq!(world.directories(), [home.path()]);
    }
}
