//! The pods of a backend.

use super::Context;
use super::metadata::Subject;
use super::pod::{
    as_nobody, container_port, deployment as around, empty_dir, http_probe, mount, not_root, read_only, secret,
    variable,
};
use super::scaling::count;
use crate::ir::infra::{BackendInfra, Program, VariableSource, VariableSourceKind, VariableValue};
use crate::ir::snapshot::{Isolation, ProcessPool};
use crate::translate::naming::{HOME_DIR, OWN_VOLUMES, SHIM_DIR, SHIM_PORT, TMP_DIR, TOKEN_DIR, TOKEN_KEY};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, ConfigMapKeySelector, Container, EnvFromSource, EnvVar, EnvVarSource, Lifecycle,
    LifecycleHandler, PodSpec, Probe, SecretEnvSource, SecretKeySelector, SleepAction, TCPSocketAction, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The name of the container, for overlays.
const CONTAINER: &str = "server";

/// How long a pod goes on serving once it is to leave, in seconds: as long as a name may be remembered (30), and 5 more for
/// those who ask then.
const LEAVE_AFTER_SECONDS: i64 = 35;

/// What the server itself has to end after that, in seconds: as much as Kubernetes gives to those who do not say.
const GRACE_SECONDS: i64 = 30;

const SHIM_PROGRAM: &str = "/shim/mcp-gateway";

/// The user and its group read the token, and nobody writes it.
const TOKEN_MODE: i32 = 0o440;

const SHIM: &str = OWN_VOLUMES[0];
const TOKEN: &str = OWN_VOLUMES[1];
const HOME: &str = OWN_VOLUMES[2];
const TMP: &str = OWN_VOLUMES[3];

/// Room for the shim's one file, for what package launchers unpack, and for temporary files.
const SHIM_LIMIT: &str = "256Mi";
const HOME_LIMIT: &str = "1Gi";
const TMP_LIMIT: &str = "512Mi";

/// The port that gateways connect to.
pub(super) fn port(program: &Program) -> u16 {
    match program {
        Program::Stdio { .. } => SHIM_PORT,
        Program::Http { port, .. } => *port,
    }
}

/// The Deployment.
pub(super) fn deployment(subject: &Subject<'_>, infra: &BackendInfra, context: &Context) -> Deployment {
    let pod = match &infra.program {
        Program::Stdio { image, command, args, working_dir, isolation, pool } => {
            let server = Container {
                image: Some(image.clone()),
                args: Some(shim_args(*isolation, pool, command, args)),
                working_dir: working_dir.clone(),
                ..shim_container()
            };
            stdio_pod(server, subject, infra, context)
        }
        Program::Http { image, port, command, args } => http_pod(
            Container {
                image: Some(image.clone()),
                command: (!command.is_empty()).then(|| command.clone()),
                args: (!args.is_empty()).then(|| args.clone()),
                ports: Some(vec![container_port("mcp", *port)]),
                readiness_probe: Some(tcp_probe(*port)),
                ..Container::default()
            },
            infra,
        ),
    };
    around(subject, Some(count(infra.replicas)), pod, infra.overlay.clone(), &infra.rollout)
}

/// An image that serves by itself, as whatever user it names.
fn http_pod(server: Container, infra: &BackendInfra) -> PodSpec {
    PodSpec {
        containers: vec![common(server, infra, Vec::new())],
        volumes: (!infra.volumes.is_empty()).then(|| infra.volumes.clone()),
        security_context: Some(not_root()),
        termination_grace_period_seconds: Some(LEAVE_AFTER_SECONDS + GRACE_SECONDS),
        ..PodSpec::default()
    }
}

/// An image that has a program, and our shim in it, which serves. Such images mostly run as root when nobody says otherwise, and
/// need of their user only a home.
fn stdio_pod(server: Container, subject: &Subject<'_>, infra: &BackendInfra, context: &Context) -> PodSpec {
    let (volumes, mounts) = own_volumes(subject, infra).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let copy = Container {
        name: SHIM.to_owned(),
        image: Some(context.gateway_image.clone()),
        command: Some(vec!["mcp-gateway".to_owned()]),
        args: Some(["shim", "--install", SHIM_PROGRAM].map(str::to_owned).to_vec()),
        // As the server, before which it runs: the pod then needs no more than that, and keeps its class of service.
        resources: infra.resources.clone(),
        security_context: Some(read_only()),
        volume_mounts: Some(vec![mount(SHIM, SHIM_DIR, false)]),
        ..Container::default()
    };
    let server = Container { volume_mounts: Some(mounts), ..server };
    PodSpec {
        init_containers: Some(vec![copy]),
        containers: vec![common(server, infra, writable_home())],
        volumes: Some(volumes.into_iter().chain(infra.volumes.iter().cloned()).collect()),
        security_context: Some(as_nobody()),
        termination_grace_period_seconds: Some(LEAVE_AFTER_SECONDS + GRACE_SECONDS),
        ..PodSpec::default()
    }
}

/// The operator's own volumes, each with where the server sees it. Home and temporary files give way to a volume in their place.
fn own_volumes(subject: &Subject<'_>, infra: &BackendInfra) -> Vec<(Volume, VolumeMount)> {
    let all = [
        (empty_dir(SHIM, SHIM_LIMIT), mount(SHIM, SHIM_DIR, true)),
        (secret(TOKEN, &subject.name, TOKEN_MODE), mount(TOKEN, TOKEN_DIR, true)),
        (empty_dir(HOME, HOME_LIMIT), mount(HOME, HOME_DIR, false)),
        (empty_dir(TMP, TMP_LIMIT), mount(TMP, TMP_DIR, false)),
    ];
    let is_free =
        |(_, own): &(Volume, VolumeMount)| !infra.mounts.iter().any(|mount| mount.mount_path == own.mount_path);
    all.into_iter().filter(is_free).collect()
}

/// Where programs and package launchers (npm, pip, uv, deno) may write, also those whose image says another place.
fn writable_home() -> Vec<EnvVar> {
    let below = |name: &str, path: &str| variable(name, &format!("{HOME_DIR}/{path}"));
    vec![
        variable("HOME", HOME_DIR),
        variable("TMPDIR", TMP_DIR),
        below("XDG_CACHE_HOME", ".cache"),
        below("XDG_CONFIG_HOME", ".config"),
        below("XDG_DATA_HOME", ".local/share"),
        below("npm_config_cache", ".npm"),
        below("PIP_CACHE_DIR", ".cache/pip"),
        below("UV_CACHE_DIR", ".cache/uv"),
        below("UV_TOOL_DIR", ".local/share/uv/tools"),
        below("UV_TOOL_BIN_DIR", ".local/bin"),
        below("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"),
        below("DENO_DIR", ".cache/deno"),
    ]
}

fn shim_container() -> Container {
    Container {
        command: Some(vec![SHIM_PROGRAM.to_owned()]),
        ports: Some(vec![container_port("mcp", SHIM_PORT)]),
        // Ready after its first handshake; what later happens to a child is told to that child's clients.
        readiness_probe: Some(http_probe("/readyz", SHIM_PORT, 2, 2)),
        ..Container::default()
    }
}

fn shim_args(isolation: Isolation, pool: &ProcessPool, command: &[String], args: &[String]) -> Vec<String> {
    let isolation = match isolation {
        Isolation::Shared => "Shared",
        Isolation::PerSession => "PerSession",
        Isolation::PerRequest => "PerRequest",
    };
    let options = [
        ("--listen", format!("[::]:{SHIM_PORT}")),
        ("--isolation", isolation.to_owned()),
        ("--pool-min", pool.min.to_string()),
        ("--pool-max", pool.max.to_string()),
        ("--pool-idle-timeout", format!("{}ms", pool.idle_timeout_ms)),
        ("--token-file", format!("{TOKEN_DIR}/{TOKEN_KEY}")),
    ];
    let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let own = std::iter::once("shim".to_owned()).chain(options).chain(["--".to_owned()]);
    own.chain(command.iter().cloned()).chain(args.iter().cloned()).collect()
}

/// What every server's container has: its environment over `defaults`, its volumes after ours, and time for gateways to notice that
/// it leaves.
fn common(server: Container, infra: &BackendInfra, mut defaults: Vec<EnvVar>) -> Container {
    defaults.retain(|variable| !infra.env.iter().any(|own| own.name == variable.name));
    let env: Vec<EnvVar> = defaults.into_iter().chain(infra.env.iter().map(environment)).collect();
    let env_from: Vec<EnvFromSource> = infra.env_from.iter().map(source).collect();
    let sleep =
        LifecycleHandler { sleep: Some(SleepAction { seconds: LEAVE_AFTER_SECONDS }), ..LifecycleHandler::default() };
    let mounts: Vec<VolumeMount> = server.volume_mounts.iter().flatten().chain(&infra.mounts).cloned().collect();
    Container {
        name: CONTAINER.to_owned(),
        resources: infra.resources.clone(),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        env: (!env.is_empty()).then_some(env),
        env_from: (!env_from.is_empty()).then_some(env_from),
        lifecycle: Some(Lifecycle { pre_stop: Some(sleep), ..Lifecycle::default() }),
        ..server
    }
}

fn environment(own: &crate::ir::infra::Variable) -> EnvVar {
    let source = match &own.value {
        VariableValue::Literal { value } => return variable(&own.name, value),
        VariableValue::Secret { name, key } => EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name: name.clone(), key: key.clone(), optional: None }),
            ..EnvVarSource::default()
        },
        VariableValue::ConfigMap { name, key } => EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector { name: name.clone(), key: key.clone(), optional: None }),
            ..EnvVarSource::default()
        },
    };
    EnvVar { name: own.name.clone(), value: None, value_from: Some(source) }
}

fn source(own: &VariableSource) -> EnvFromSource {
    let VariableSource { prefix, kind, name, optional } = own;
    let (name, optional) = (name.clone(), Some(*optional));
    let is_secret = *kind == VariableSourceKind::Secret;
    EnvFromSource {
        prefix: prefix.clone(),
        secret_ref: is_secret.then(|| SecretEnvSource { name: name.clone(), optional }),
        config_map_ref: (!is_secret).then_some(ConfigMapEnvSource { name, optional }),
    }
}

/// Whether it listens at all: what it answers is for MCP's own health checks.
fn tcp_probe(port: u16) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(port.into()), host: None }),
        period_seconds: Some(5),
        ..Probe::default()
    }
}
