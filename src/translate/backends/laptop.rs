//! Targets on a laptop: processes, URLs, and what a flag says. What needs a cluster is refused with the way out.

use super::{Candidate, Unusable, Variant, cluster, env, stdio, url};
use crate::api::backend::StdioServer;
use crate::api::conditions::Reason;
use crate::ir::snapshot::{AddressPolicy, Process, Target};
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
    let stdio::Definition { command, args, working_dir, isolation, pool } =
        stdio::definition(server).map_err(Unusable::Refused)?;
    Ok(Target::Process(Process { command, args, env: env::resolve(candidate, server)?, working_dir, isolation, pool }))
}
