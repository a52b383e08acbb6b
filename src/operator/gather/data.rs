//! Values of Secrets and keys of `ConfigMap`s, read by name, and only those that our objects name.

use super::names::Referenced;
use crate::api::McpBackend;
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::secrets::PrivateBytes;
use crate::operator::client::{ApiError, within};
use crate::operator::owner::controller_uid;
use crate::operator::target::{Kind, Target};
use crate::operator::watch::{Caches, MetaCache, id, resource_version};
use crate::operator::{owner, tokens};
use crate::translate::Inputs;
use crate::translate::facts::{self, Content};
use crate::translate::naming::TOKEN_KEY;
use futures_util::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::{BTreeMap, BTreeSet};

/// Objects read at a time. Few change at once; at the start there are many.
const READS: usize = 16;

/// The keys of a TLS Secret.
const TLS_PAIR: [&str; 2] = ["tls.crt", "tls.key"];

/// What has been read, each with the version of the object that it is of.
#[derive(Default)]
pub(in crate::operator) struct Data {
    secrets: BTreeMap<ObjectId, Read<Values>>,
    config_maps: BTreeMap<ObjectId, Read<BTreeSet<String>>>,
    /// Backends, by their uid, for which no token could be made.
    without_token: BTreeSet<String>,
}

/// What a Secret holds.
struct Values {
    /// The uid of the object that controls it.
    controller: Option<String>,
    values: BTreeMap<String, PrivateBytes>,
}

struct Read<T> {
    resource_version: String,
    content: T,
}

impl Data {
    /// Reads what is named and new, and forgets what is not named any more. On an error what was read before stays.
    pub(in crate::operator) async fn refresh(
        &mut self,
        client: &Client,
        caches: &Caches,
        named: &Referenced,
    ) -> Result<(), ApiError> {
        let Referenced { secrets, config_maps, services: _ } = named;
        self.secrets.retain(|id, read| is_current(id, read, secrets, &caches.secrets));
        self.config_maps.retain(|id, read| is_current(id, read, config_maps, &caches.config_maps));
        let new = |id: &&ObjectId| !self.secrets.contains_key(*id) && caches.secrets.get(id).is_some();
        let wanted: Vec<ObjectId> = secrets.iter().filter(new).cloned().collect();
        let mut reads = stream::iter(wanted).map(|id| read_secret(client, id)).buffer_unordered(READS);
        while let Some(read) = reads.next().await {
            self.secrets.extend(read?);
        }
        let new = |id: &&ObjectId| !self.config_maps.contains_key(*id) && caches.config_maps.get(id).is_some();
        let wanted: Vec<ObjectId> = config_maps.iter().filter(new).cloned().collect();
        let mut reads = stream::iter(wanted).map(|id| read_config_map(client, id)).buffer_unordered(READS);
        while let Some(read) = reads.next().await {
            self.config_maps.extend(read?);
        }
        Ok(())
    }

    /// Makes the token of each `stdio` backend that has none yet, before anything is said of the backend. What cannot be made is
    /// left to the backend's own deployment, which says why and tries again: nobody else waits for it.
    pub(in crate::operator) async fn make_tokens(
        &mut self,
        client: &Client,
        backends: &BTreeMap<ObjectId, McpBackend>,
    ) {
        let uid = |backend: &McpBackend| backend.metadata.uid.clone().unwrap_or_default();
        let wants =
            |backend: &McpBackend| backend.spec.stdio.is_some() && backend.metadata.deletion_timestamp.is_none();
        let lacking: BTreeMap<&ObjectId, &McpBackend> = backends
            .iter()
            .filter(|(id, backend)| wants(backend) && !self.secrets.contains_key(&tokens::secret_id(id)))
            .collect();
        self.without_token.retain(|failed| lacking.values().any(|backend| uid(backend) == *failed));
        let wanted: Vec<(ObjectId, OwnerReference)> = lacking
            .into_iter()
            .filter(|(_, backend)| !self.without_token.contains(&uid(backend)))
            .map(|(id, backend)| {
                let target = Target::new(Kind::Backend, id.clone());
                (id.clone(), owner::reference(&target, &backend.metadata))
            })
            .collect();
        let made = stream::iter(wanted)
            .map(|(id, owner)| async move { (owner.uid.clone(), tokens::ensure(client, &id, &owner).await) });
        let mut made = made.buffer_unordered(READS);
        while let Some((uid, made)) = made.next().await {
            match made {
                Ok(secret) => self.secrets.extend([read(secret)]),
                Err(error) => {
                    tracing::debug!(uid, %error, "a token could not be made; its backend's deployment tries again");
                    self.without_token.insert(uid);
                }
            }
        }
    }

    /// Tells translation what there is.
    pub(in crate::operator) fn describe(&self, inputs: &mut Inputs) {
        let has_token = |(id, backend): &(&ObjectId, &McpBackend)| {
            let secret = self.secrets.get(&tokens::secret_id(id)).map(|read| &read.content);
            let ours = secret.filter(|secret| secret.controller.is_some() && secret.controller == backend.metadata.uid);
            let token = ours.and_then(|secret| secret.values.get(TOKEN_KEY));
            token.is_some_and(|token| !token.expose().is_empty())
        };
        let facts = &mut inputs.facts;
        facts.tokens = inputs.backends.iter().filter(has_token).map(|(id, _)| id.clone()).collect();
        facts.secrets = self.secrets.iter().map(|(id, read)| (id.clone(), describe(&read.content.values))).collect();
        facts.config_maps = self.config_maps.iter().map(|(id, read)| (id.clone(), read.content.clone())).collect();
    }

    /// The values of these keys, as far as they are there.
    pub(in crate::operator) fn values(&self, keys: &BTreeSet<SecretKey>) -> BTreeMap<SecretKey, PrivateBytes> {
        let value = |key: &SecretKey| self.secrets.get(&key.secret)?.content.values.get(&key.key).cloned();
        keys.iter().filter_map(|key| Some((key.clone(), value(key)?))).collect()
    }
}

fn is_current<T, K>(id: &ObjectId, read: &Read<T>, named: &BTreeSet<ObjectId>, cache: &MetaCache<K>) -> bool
where
    PartialObjectMeta<K>: kube::ResourceExt,
{
    named.contains(id) && cache.get(id).is_some_and(|object| resource_version(&*object) == read.resource_version)
}

async fn read_secret(client: &Client, id: ObjectId) -> Result<Option<(ObjectId, Read<Values>)>, ApiError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &id.namespace);
    Ok(within(api.get_opt(&id.name)).await?.map(read))
}

fn read(secret: Secret) -> (ObjectId, Read<Values>) {
    let id = id(&secret);
    let resource_version = resource_version(&secret);
    let controller = controller_uid(&secret.metadata).map(str::to_owned);
    let values = secret.data.unwrap_or_default().into_iter();
    let values = values.map(|(key, value)| (key, PrivateBytes::new(value.0))).collect();
    (id, Read { resource_version, content: Values { controller, values } })
}

async fn read_config_map(
    client: &Client,
    id: ObjectId,
) -> Result<Option<(ObjectId, Read<BTreeSet<String>>)>, ApiError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &id.namespace);
    let Some(map) = within(api.get_opt(&id.name)).await? else { return Ok(None) };
    let resource_version = resource_version(&map);
    let keys = map.data.unwrap_or_default().into_keys();
    let content = keys.chain(map.binary_data.unwrap_or_default().into_keys()).collect();
    Ok(Some((id, Read { resource_version, content })))
}

fn describe(values: &BTreeMap<String, PrivateBytes>) -> facts::Secret {
    let keys = values.iter().map(|(key, value)| (key.clone(), Content::of(value.expose())));
    facts::Secret { keys: keys.collect(), mismatch: mismatch(values) }
}

/// Why certificate and key do not belong together. Only said where each by itself is what it should be.
fn mismatch(values: &BTreeMap<String, PrivateBytes>) -> Option<String> {
    let [chain, key] = TLS_PAIR.map(|key| values.get(key));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain?.expose()).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(key?.expose()).ok()?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, String)]) -> facts::Secret {
        let values = pairs.iter().map(|(key, value)| ((*key).to_owned(), PrivateBytes::new(value.as_bytes())));
        describe(&values.collect())
    }

    #[test]
    fn a_certificate_without_its_key_is_told_apart() {
        let one = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let two = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let good = secret(&[("tls.crt", one.cert.pem()), ("tls.key", one.signing_key.serialize_pem())]);
        assert_eq!(good.keys["tls.crt"], Content::Certificates);
        assert_eq!(good.keys["tls.key"], Content::PrivateKey);
        assert_eq!(good.mismatch, None);
        let mixed = secret(&[("tls.crt", one.cert.pem()), ("tls.key", two.signing_key.serialize_pem())]);
        assert!(mixed.mismatch.is_some());
        let other = secret(&[("tls.crt", "x".to_owned()), ("token", "hunter2".to_owned())]);
        assert_eq!((other.keys["token"], other.mismatch), (Content::Other, None));
    }
}
