//! Certificates of HTTPS listeners, and which of them a client gets.

use crate::ir::ids::SecretKey;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{CertificateRef, Listener};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

use super::guard::HostPattern;

/// A certificate that cannot be served. It names the secret's key, and shows nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The credentials lack it.
    #[error("{0} is not among the credentials")]
    Missing(SecretKey),
    /// No PEM certificate in it.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(SecretKey),
    /// No PEM key in it.
    #[error("{0} holds no PEM private key")]
    NoKey(SecretKey),
    /// Key and certificate do not belong together, or the key's kind is not supported.
    #[error("{} does not fit {}: {reason}", .pair.key, .pair.chain)]
    Unusable {
        /// The pair.
        pair: Box<CertificateRef>,
        /// Why not.
        reason: Box<rustls::Error>,
    },
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(Box<rustls::Error>),
}

/// Makes the acceptor for the HTTPS listeners that share a port; `None` if there are none. Connections made before keep
/// what they have, those that come after get the new certificates.
pub fn acceptor(listeners: &[&Listener], credentials: &Credentials) -> Result<Option<TlsAcceptor>, CertificateError> {
    let provider = Arc::new(ring::default_provider());
    let mut chooser = Chooser { listeners: Vec::new() };
    for listener in listeners {
        let Some(tls) = &listener.tls else { continue };
        let certificates: Result<Vec<_>, _> =
            tls.certificates.iter().map(|reference| load(reference, credentials, &provider)).collect();
        let hostname = listener.hostname.as_deref().map(HostPattern::new);
        chooser.listeners.push(ListenerCertificates { hostname, certificates: certificates? });
    }
    if chooser.listeners.is_empty() {
        return Ok(None);
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::Setup(Box::new(error)))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(chooser));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn load(
    reference: &CertificateRef,
    credentials: &Credentials,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let value = |key: &SecretKey| credentials.get(key).ok_or_else(|| CertificateError::Missing(key.clone()));
    let no_certificate = || CertificateError::NoCertificate(reference.chain.clone());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(value(&reference.chain)?.expose()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(no_certificate)?;
    let key = PrivateKeyDer::from_pem_slice(value(&reference.key)?.expose())
        .map_err(|_| CertificateError::NoKey(reference.key.clone()))?;
    let certified = CertifiedKey::from_der(chain, key, provider)
        .map_err(|reason| CertificateError::Unusable { pair: Box::new(reference.clone()), reason: Box::new(reason) })?;
    Ok(Arc::new(certified))
}

/// Chooses by server name, among the listeners of a port and then among the certificates of one.
struct Chooser {
    listeners: Vec<ListenerCertificates>,
}

struct ListenerCertificates {
    hostname: Option<HostPattern>,
    certificates: Vec<Arc<CertifiedKey>>,
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chooser({} listeners)", self.listeners.len())
    }
}

impl Chooser {
    /// The listener whose hostname fits best, or else the first: its certificate tells the client what is wrong.
    fn listener(&self, server_name: Option<&str>) -> Option<&ListenerCertificates> {
        let rank = |listener: &ListenerCertificates| match (&listener.hostname, server_name) {
            (None, _) => Some((false, 0)),
            (Some(pattern), Some(name)) if pattern.matches(name) => Some(pattern.specificity()),
            _ => None,
        };
        // Of equals the first one counts, as everywhere; `max_by_key` takes the last.
        self.listeners
            .iter()
            .rev()
            .filter_map(|listener| Some((rank(listener)?, listener)))
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, listener)| listener)
            .or_else(|| self.listeners.first())
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let server_name = hello.server_name().map(str::to_ascii_lowercase);
        let listener = self.listener(server_name.as_deref())?;
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let best = server_name.and_then(|name| {
            let candidates = listener.certificates.iter().rev().filter(usable);
            candidates.filter_map(|key| Some((Fit::of(key, &name)?, key))).max_by_key(|(fit, _)| *fit)
        });
        best.map(|(_, key)| key)
            .or_else(|| listener.certificates.iter().find(usable))
            .or_else(|| listener.certificates.first())
            .cloned()
    }
}

/// How a certificate covers a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Wildcard,
    Exact,
}

impl Fit {
    fn of(key: &CertifiedKey, name: &str) -> Option<Self> {
        let leaf = ParsedCertificate::try_from(key.cert.first()?).ok()?;
        let covers = |name: &str| {
            ServerName::try_from(name.to_owned()).is_ok_and(|name| verify_server_name(&leaf, &name).is_ok())
        };
        if !covers(name) {
            return None;
        }
        // The names of a certificate are not public in rustls. One that covers a sibling that no one would name has a
        // wildcard.
        let sibling = name.split_once('.').map(|(_, parent)| format!("x-sibling-of-this-name.{parent}"));
        Some(if sibling.is_some_and(|sibling| covers(&sibling)) { Self::Wildcard } else { Self::Exact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::secrets::PrivateBytes;
    use crate::ir::snapshot::ListenerTls;

    fn reference(name: &str) -> CertificateRef {
        CertificateRef { chain: SecretKey::new("team", name, "tls.crt"), key: SecretKey::new("team", name, "tls.key") }
    }

    fn add(credentials: &mut Credentials, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(hosts).unwrap();
        let reference = reference(name);
        credentials.values.insert(reference.chain, PrivateBytes::new(issued.cert.pem()));
        credentials.values.insert(reference.key, PrivateBytes::new(issued.signing_key.serialize_pem()));
    }

    fn https(name: &str, hostname: Option<&str>, certificates: &[&str]) -> Listener {
        Listener {
            name: name.to_owned(),
            port: 8443,
            hostname: hostname.map(str::to_owned),
            tls: Some(ListenerTls { certificates: certificates.iter().map(|name| reference(name)).collect() }),
        }
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard() {
        let mut credentials = Credentials::default();
        add(&mut credentials, "wild", &["*.example.com"]);
        add(&mut credentials, "exact", &["mcp.example.com"]);
        let provider = ring::default_provider();
        let wild = load(&reference("wild"), &credentials, &provider).unwrap();
        let exact = load(&reference("exact"), &credentials, &provider).unwrap();
        assert!(Fit::of(&exact, "mcp.example.com") > Fit::of(&wild, "mcp.example.com"));
        assert!(Fit::of(&wild, "other.example.com") == Some(Fit::Wildcard));
        assert!(Fit::of(&exact, "other.example.com").is_none());
    }

    #[test]
    fn the_listener_whose_hostname_fits_best_answers() {
        let mut credentials = Credentials::default();
        for name in ["any", "wild", "exact"] {
            add(&mut credentials, name, &[name]);
        }
        let provider = ring::default_provider();
        let entry = |hostname: Option<&str>, name| ListenerCertificates {
            hostname: hostname.map(HostPattern::new),
            certificates: vec![load(&reference(name), &credentials, &provider).unwrap()],
        };
        let chooser = Chooser {
            listeners: vec![
                entry(None, "any"),
                entry(Some("*.example.com"), "wild"),
                entry(Some("a.example.com"), "exact"),
            ],
        };
        let chosen = |name| {
            let listener = chooser.listener(name).unwrap();
            chooser.listeners.iter().position(|other| std::ptr::eq(other, listener)).unwrap()
        };
        assert_eq!(chosen(Some("a.example.com")), 2);
        assert_eq!(chosen(Some("b.example.com")), 1);
        assert_eq!(chosen(Some("other")), 0);
        assert_eq!(chosen(None), 0);
    }

    #[test]
    fn what_cannot_be_served_is_named_and_not_shown() {
        let mut credentials = Credentials::default();
        add(&mut credentials, "one", &["one"]);
        add(&mut credentials, "two", &["two"]);
        let message = |certificates: &[&str], credentials: &Credentials| {
            acceptor(&[&https("https", None, certificates)], credentials).err().unwrap().to_string()
        };
        assert_eq!(message(&["none"], &credentials), "team/none/tls.crt is not among the credentials");

        let mut broken = credentials.clone();
        broken.values.insert(reference("one").chain, PrivateBytes::new(*b"hunter2"));
        assert_eq!(message(&["one"], &broken), "team/one/tls.crt holds no PEM certificate");
        broken = credentials.clone();
        broken.values.insert(reference("one").key, PrivateBytes::new(*b"hunter2"));
        assert_eq!(message(&["one"], &broken), "team/one/tls.key holds no PEM private key");

        let mut crossed = credentials.clone();
        let other = credentials.get(&reference("two").key).unwrap().clone();
        crossed.values.insert(reference("one").key, other);
        let text = message(&["one"], &crossed);
        assert!(text.starts_with("team/one/tls.key does not fit team/one/tls.crt"), "{text}");
    }

    #[test]
    fn plain_listeners_need_no_acceptor() {
        let plain = Listener { tls: None, ..https("http", None, &[]) };
        assert!(acceptor(&[&plain], &Credentials::default()).unwrap().is_none());
    }
}
