//! Listeners of a gateway: which are accepted, which are served, and with which certificates.

use super::facts::{Content, Facts, Mode};
use super::naming::{ADMIN_PORT, CHANNEL_PORT, PEER_PORT};
use super::problem::Problem;
use super::{hostnames, tenancy};
use crate::api::conditions::Reason;
use crate::api::gateway::{Listener, ListenerProtocol};
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::snapshot;

/// The keys of a `kubernetes.io/tls` Secret.
const TLS_CHAIN: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";

/// A listener with what is decided about it.
pub(super) struct CheckedListener<'a> {
    pub(super) spec: &'a Listener,
    /// Routes attach to an accepted listener only.
    pub(super) accepted: Result<(), Problem>,
    /// Certificates that cannot be used.
    pub(super) refs: Vec<Problem>,
    /// What the data plane listens on; absent when it is not accepted or has no certificate to show.
    pub(super) served: Option<snapshot::Listener>,
}

/// Everything that one check may look at.
struct Candidate<'a> {
    listener: &'a Listener,
    /// Accepted listeners before this one.
    earlier: Vec<&'a Listener>,
    mode: &'a Mode,
}

/// Reasons not to accept a listener, in the order in which they are told.
const CHECKS: &[fn(&Candidate<'_>) -> Option<Problem>] = &[
    hostname_is_malformed,         // what no client can ask for
    tls_and_protocol_disagree,     // HTTPS needs certificates, HTTP takes none
    reaches_across_namespaces,     // an operator of single namespaces sees no other
    port_is_the_gateways_own,      // a pod listens on a few ports besides
    port_has_another_protocol,     // one port speaks one protocol
    port_and_hostname_are_claimed, // and each host of it belongs to one listener
];

/// Checks the listeners of the gateway `id`; of two in conflict the one that the spec names first stands.
pub(super) fn check<'a>(
    id: &ObjectId,
    listeners: &'a [Listener],
    mode: &Mode,
    facts: &Facts,
) -> Vec<CheckedListener<'a>> {
    let mut checked: Vec<CheckedListener<'a>> = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let earlier = checked.iter().filter(|other| other.accepted.is_ok()).map(|other| other.spec).collect();
        let candidate = Candidate { listener, earlier, mode };
        let accepted = CHECKS.iter().find_map(|check| check(&candidate)).map_or(Ok(()), Err);
        let (certificates, refs) = certificates(id, listener, mode, facts);
        let served = serve(listener, certificates).filter(|_| accepted.is_ok());
        checked.push(CheckedListener { spec: listener, accepted, refs, served });
    }
    checked
}

fn hostname_is_malformed(candidate: &Candidate<'_>) -> Option<Problem> {
    let hostname = candidate.listener.hostname.as_deref()?;
    let rule = hostnames::problem(hostname)?;
    Some(Problem::new(
        Reason::Invalid,
        format!("{}.hostname {hostname:?} is not usable: a hostname {rule}", field(candidate.listener)),
    ))
}

fn tls_and_protocol_disagree(candidate: &Candidate<'_>) -> Option<Problem> {
    let listener = candidate.listener;
    let advice = match (listener.protocol, &listener.tls) {
        (ListenerProtocol::HTTPS, None) => "is required with protocol HTTPS",
        (ListenerProtocol::HTTP, Some(_)) => "goes with protocol HTTPS only",
        _ => return None,
    };
    Some(Problem::new(Reason::Invalid, format!("{}.tls {advice}", field(listener))))
}

fn reaches_across_namespaces(candidate: &Candidate<'_>) -> Option<Problem> {
    tenancy::reaches_too_far(&candidate.listener.allowed_routes, &field(candidate.listener), candidate.mode)
}

fn port_is_the_gateways_own(candidate: &Candidate<'_>) -> Option<Problem> {
    let listener = candidate.listener;
    let in_a_pod = matches!(candidate.mode, Mode::Cluster(_));
    (in_a_pod && [ADMIN_PORT, CHANNEL_PORT, PEER_PORT].contains(&listener.port)).then(|| {
        Problem::new(
            Reason::UnsupportedValue,
            format!(
                "{}.port {}: a gateway's pods use {ADMIN_PORT} to {PEER_PORT} themselves; choose another port",
                field(listener),
                listener.port
            ),
        )
    })
}

fn port_has_another_protocol(candidate: &Candidate<'_>) -> Option<Problem> {
    let listener = candidate.listener;
    let other =
        candidate.earlier.iter().find(|other| other.port == listener.port && other.protocol != listener.protocol)?;
    Some(Problem::new(
        Reason::ProtocolConflict,
        format!(
            "{}: port {} speaks {:?} for listener {}; choose another port",
            field(listener),
            listener.port,
            other.protocol,
            other.name
        ),
    ))
}

fn port_and_hostname_are_claimed(candidate: &Candidate<'_>) -> Option<Problem> {
    let listener = candidate.listener;
    let other = candidate.earlier.iter().find(|other| {
        other.name == listener.name || (other.port == listener.port && other.hostname == listener.hostname)
    })?;
    let what = if other.name == listener.name {
        "its name is taken by an earlier listener; choose another name".to_owned()
    } else {
        let host = listener.hostname.as_deref().unwrap_or("any host");
        format!("port {} for {host} belongs to listener {}; choose another port or hostname", listener.port, other.name)
    };
    Some(Problem::new(Reason::HostnameConflict, format!("{}: {what}", field(listener))))
}

/// The usable certificates, in the order of the spec, and what is wrong with the others.
fn certificates(
    gateway: &ObjectId,
    listener: &Listener,
    mode: &Mode,
    facts: &Facts,
) -> (Vec<snapshot::CertificateRef>, Vec<Problem>) {
    let mut usable = Vec::new();
    let mut problems = Vec::new();
    for (index, reference) in listener.tls.iter().flat_map(|tls| &tls.certificate_refs).enumerate() {
        // References have no namespace: certificates are the gateway's own namespace's.
        let secret = ObjectId::new(&gateway.namespace, &reference.name);
        match certificate(&secret, mode, facts) {
            Ok(certificate) => usable.push(certificate),
            Err(reason) => problems.push(Problem::new(
                Reason::InvalidCertificateRef,
                format!("{}.tls.certificateRefs[{index}]: {reason}", field(listener)),
            )),
        }
    }
    (usable, problems)
}

fn certificate(secret: &ObjectId, mode: &Mode, facts: &Facts) -> Result<snapshot::CertificateRef, String> {
    let known = facts.secrets.get(secret);
    for (key, wanted, what) in
        [(TLS_CHAIN, Content::Certificates, "certificate"), (TLS_KEY, Content::PrivateKey, "private key")]
    {
        match known.and_then(|known| known.keys.get(key)) {
            Some(content) if *content == wanted => {}
            Some(_) => return Err(format!("{key} of Secret {secret} is not a PEM {what}")),
            None => return Err(missing(secret, key, known.is_some(), mode)),
        }
    }
    if let Some(mismatch) = known.and_then(|known| known.mismatch.as_ref()) {
        return Err(format!("{TLS_CHAIN} and {TLS_KEY} of Secret {secret} do not belong together: {mismatch}"));
    }
    let key = |key: &str| SecretKey { secret: secret.clone(), key: key.to_owned() };
    Ok(snapshot::CertificateRef { chain: key(TLS_CHAIN), key: key(TLS_KEY) })
}

fn missing(secret: &ObjectId, key: &str, is_there: bool, mode: &Mode) -> String {
    match mode {
        Mode::Laptop(_) => {
            format!("there is no cluster to read Secret {0} from; give it by --secret {0}.{key}=@FILE", secret.name)
        }
        Mode::Cluster(_) if is_there => {
            format!("Secret {secret} has no key {key}; it must be of type kubernetes.io/tls")
        }
        Mode::Cluster(_) => format!("Secret {secret} does not exist; create it with type kubernetes.io/tls"),
    }
}

fn serve(listener: &Listener, certificates: Vec<snapshot::CertificateRef>) -> Option<snapshot::Listener> {
    let tls = match listener.protocol {
        ListenerProtocol::HTTP => None,
        // Without a certificate there is nothing to speak TLS with.
        ListenerProtocol::HTTPS if certificates.is_empty() => return None,
        ListenerProtocol::HTTPS => Some(snapshot::ListenerTls { certificates }),
    };
    Some(snapshot::Listener {
        name: listener.name.clone(),
        port: listener.port,
        hostname: listener.hostname.clone(),
        tls,
    })
}

fn field(listener: &Listener) -> String {
    format!("spec.listeners[{}]", listener.name)
}
