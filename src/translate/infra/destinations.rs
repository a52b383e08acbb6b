//! What a gateway's pods connect to: the servers in its snapshot, and the collector of its spans.

use crate::ir::ids::ObjectId;
use crate::ir::infra::Destination;
use crate::ir::snapshot::{Endpoint, Snapshot, Target};
use crate::translate::backends::{CheckedBackend, Variant, variant};
use crate::translate::naming::SHIM_PORT;
use crate::translate::telemetry;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that whoever serves `snapshot` calls. `ready` are the addresses of its backends that are known.
pub(in crate::translate) fn of_snapshot(
    snapshot: &Snapshot,
    ready: &BTreeMap<ObjectId, BTreeSet<Endpoint>>,
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
) -> BTreeSet<Destination> {
    let one = |(id, served): (&ObjectId, &crate::ir::snapshot::Backend)| {
        let endpoints = match &served.target {
            Target::Http { endpoints, .. } => endpoints.as_slice(),
            Target::Process(_) => &[],
        };
        let Some(Ok(variant)) = backends.get(id).map(|backend| variant(backend.spec)) else { return BTreeSet::new() };
        of_backend(id, variant, endpoints, ready.get(id))
    };
    let collector = snapshot.tracing.as_ref().and_then(|tracing| telemetry::destination(&snapshot.gateway, tracing));
    snapshot.backends.iter().flat_map(one).chain(collector).collect()
}

fn of_backend(
    id: &ObjectId,
    variant: Variant<'_>,
    endpoints: &[Endpoint],
    ready: Option<&BTreeSet<Endpoint>>,
) -> BTreeSet<Destination> {
    let own = |port| BTreeSet::from([Destination::Backend { backend: id.clone(), port }]);
    match variant {
        Variant::Stdio(_) => own(SHIM_PORT),
        Variant::Http(server) => own(server.port),
        Variant::Service(_) => {
            // A policy is about pods, whose ports need not be the Service's own; while none is ready, they are not known.
            let ports = ready.into_iter().flatten().map(|endpoint| endpoint.port).collect();
            BTreeSet::from([Destination::Namespace { namespace: id.namespace.clone(), ports }])
        }
        Variant::Remote(_) => endpoints.iter().map(|endpoint| Destination::Public { port: endpoint.port }).collect(),
        Variant::ServerRef(_) => endpoints.iter().map(by_address).collect(),
    }
}

/// Another operator's server: most often `name.namespace.svc`, whose pods may listen on another port.
fn by_address(endpoint: &Endpoint) -> Destination {
    let mut labels = endpoint.host.split('.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(_), Some(namespace), Some("svc")) => {
            Destination::Namespace { namespace: namespace.to_owned(), ports: BTreeSet::new() }
        }
        _ => Destination::Anywhere { port: endpoint.port },
    }
}
