//! Targets on a laptop: processes, URLs, and what a flag says. What needs a cluster is refused with the way out.

use super::{Candidate, Unusable, Variant, cluster, env, url};
use crate::api::backend::{Isolation, ProcessPool, StdioServer};
use crate::api::conditions::Reason;
use crate::ir::snapshot::{self, AddressPolicy, Process, Target};
use crate::translate::facts::Laptop;
use crate::translate::problem::Problem;

/// Where the backend is on this laptop.
pub(super) fn target(candidate: &Candidate<'_>, laptop: &Laptop) -> Result<Target, Unusable> {
    if let Some(url) = laptop.backends.get(candidate.id) {
        let flag = format!("--backend {}", candidate.id.name);
        return url::target(&flag, url, candidate.variant.transport(), AddressPolicy::Any).map_err(Unusable::Refused);
    }
    match candidate.variant {
        Variant::Stdio(server) => process(candidate, server),
        // Whoever runs this on a laptop may reach what the laptop reaches.
        Variant::Remote(server) => cluster::remote(candidate, server, AddressPolicy::Any),
        Variant::Http(_) => {
            Err(needs_a_cluster(candidate, "spec.http runs an image in a cluster; start the server yourself"))
        }
        Variant::Service(_) => Err(needs_a_cluster(candidate, "spec.service is a Service of a cluster")),
        Variant::ServerRef(_) => Err(needs_a_cluster(candidate, "spec.serverRef is an object of a cluster")),
    }
}

fn needs_a_cluster(candidate: &Candidate<'_>, why: &str) -> Unusable {
    let message = format!("{why}; give its address by --backend {}=URL", candidate.id.name);
    Unusable::Refused(Problem::new(Reason::UnsupportedValue, message))
}

fn process(candidate: &Candidate<'_>, server: &StdioServer) -> Result<Target, Unusable> {
    if server.command.is_empty() {
        return Err(Unusable::Refused(Problem::invalid("spec.stdio.command is empty; name the program")));
    }
    let pool = server.pool.clone().unwrap_or_default();
    if pool.min > pool.max || pool.max == 0 {
        return Err(Unusable::Refused(Problem::invalid(
            "spec.stdio.pool.min (default 1) is above max (default 8), or max is 0",
        )));
    }
    Ok(Target::Process(Process {
        command: server.command.clone(),
        args: server.args.clone(),
        env: env::resolve(candidate, server)?,
        working_dir: server.working_dir.clone(),
        isolation: match server.isolation {
            Isolation::Shared => snapshot::Isolation::Shared,
            Isolation::PerSession => snapshot::Isolation::PerSession,
            Isolation::PerRequest => snapshot::Isolation::PerRequest,
        },
        pool: processes(server.isolation, &pool),
    }))
}

fn processes(isolation: Isolation, pool: &ProcessPool) -> snapshot::ProcessPool {
    let idle_timeout_ms = pool.idle_timeout.as_millis();
    match isolation {
        // One process for everyone is one process.
        Isolation::Shared => snapshot::ProcessPool { min: pool.min.min(1), max: 1, idle_timeout_ms },
        Isolation::PerSession | Isolation::PerRequest => {
            snapshot::ProcessPool { min: pool.min, max: pool.max, idle_timeout_ms }
        }
    }
}
