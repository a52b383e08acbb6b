//! The whole world of translation: our objects, and the facts about others.

use super::facts::{Content, Facts, Laptop, Mode, Secret};
use super::manifests::{Manifest, Object};
use crate::api::{McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use crate::ir::ids::ObjectId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

/// The namespace of a manifest that names none, as `kubectl` has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Everything that translation looks at. Maps only, so that no order can leak in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Where the objects come from.
    pub mode: Mode,
    /// Every `MCPGateway`.
    pub gateways: BTreeMap<ObjectId, McpGateway>,
    /// Every `MCPBackend`.
    pub backends: BTreeMap<ObjectId, McpBackend>,
    /// Every `MCPRoute`.
    pub routes: BTreeMap<ObjectId, McpRoute>,
    /// Every `MCPAuthPolicy`.
    pub auth_policies: BTreeMap<ObjectId, McpAuthPolicy>,
    /// Policies that exist and cannot be read, with the reason. What they would say is unknown, so nothing in their
    /// namespace is served until they can be.
    pub unreadable_policies: BTreeMap<ObjectId, String>,
    /// What is known of other objects.
    pub facts: Facts,
}

/// What `mcp-gateway run` was told besides the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaptopFlags {
    /// `--backend name=URL`, by `name` or `namespace/name`.
    pub backends: BTreeMap<String, String>,
    /// `--secret name.key=…`, by name and key, with what each value can be used as.
    pub secrets: BTreeMap<(String, String), Content>,
    /// Whether the listeners are bound to loopback addresses only.
    pub bound_to_loopback: bool,
}

/// Manifests that do not make one world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// One object said twice.
    #[error("{file}:{line}: {kind} {id} is defined twice")]
    Duplicate {
        /// The file of the second.
        file: String,
        /// Its line.
        line: u64,
        /// Its kind.
        kind: &'static str,
        /// Its name.
        id: ObjectId,
    },
    /// A flag about a backend that there is not.
    #[error("--backend {0}: the files define no MCPBackend of that name")]
    UnknownBackend(String),
}

impl Inputs {
    /// The inputs of a laptop: manifests and flags. Objects of other groups are no part of it.
    pub fn on_laptop(manifests: Vec<Manifest>, flags: LaptopFlags) -> Result<Self, InputError> {
        let mut inputs = Self::default();
        for manifest in manifests {
            inputs.insert(manifest)?;
        }
        let backends = inputs.backends_by_flag(flags.backends)?;
        inputs.facts = Facts { secrets: inputs.secrets_by_flag(&flags.secrets), ..Facts::default() };
        inputs.mode = Mode::Laptop(Laptop { backends, bound_to_loopback: flags.bound_to_loopback });
        Ok(inputs)
    }

    /// Adds one object; objects of other groups are passed over.
    pub fn insert(&mut self, manifest: Manifest) -> Result<(), InputError> {
        let Manifest { file, line, object } = manifest;
        let (kind, taken) = match object {
            Object::Gateway(object) => ("MCPGateway", put(&mut self.gateways, &object.metadata.clone(), *object)),
            Object::Backend(object) => ("MCPBackend", put(&mut self.backends, &object.metadata.clone(), *object)),
            Object::Route(object) => ("MCPRoute", put(&mut self.routes, &object.metadata.clone(), *object)),
            Object::AuthPolicy(object) => {
                ("MCPAuthPolicy", put(&mut self.auth_policies, &object.metadata.clone(), *object))
            }
            Object::Foreign(_) => return Ok(()),
        };
        taken.map_or(Ok(()), |id| Err(InputError::Duplicate { file, line, kind, id }))
    }

    fn backends_by_flag(&self, flags: BTreeMap<String, String>) -> Result<BTreeMap<ObjectId, String>, InputError> {
        let mut urls = BTreeMap::new();
        for (flag, url) in flags {
            let named: Vec<&ObjectId> =
                self.backends.keys().filter(|id| id.name == flag || id.to_string() == flag).collect();
            if named.is_empty() {
                return Err(InputError::UnknownBackend(flag));
            }
            urls.extend(named.into_iter().map(|id| (id.clone(), url.clone())));
        }
        Ok(urls)
    }

    /// A flag has no namespace, so its Secret is in each one there is.
    fn secrets_by_flag(&self, flags: &BTreeMap<(String, String), Content>) -> BTreeMap<ObjectId, Secret> {
        let mut secrets: BTreeMap<ObjectId, Secret> = BTreeMap::new();
        for namespace in self.namespaces() {
            for ((name, key), content) in flags {
                let secret = secrets.entry(ObjectId::new(namespace, name)).or_default();
                secret.keys.insert(key.clone(), *content);
            }
        }
        secrets
    }

    fn namespaces(&self) -> BTreeSet<&str> {
        let ids = self.gateways.keys().chain(self.backends.keys()).chain(self.routes.keys());
        ids.map(|id| id.namespace.as_str()).collect()
    }
}

/// Names an object by its metadata.
pub(super) fn id(metadata: &ObjectMeta) -> ObjectId {
    let namespace = metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    ObjectId::new(namespace, metadata.name.as_deref().unwrap_or_default())
}

/// Inserts unless the name is taken, and then answers the name.
fn put<T>(map: &mut BTreeMap<ObjectId, T>, metadata: &ObjectMeta, object: T) -> Option<ObjectId> {
    let id = id(metadata);
    if map.contains_key(&id) {
        return Some(id);
    }
    map.insert(id, object);
    None
}

#[cfg(test)]
mod tests {
    use super::super::manifests::parse;
    use super::*;

    const BACKEND: &str = "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: search}
spec: {remote: {url: https://example.com/mcp}}
";

    fn on_laptop(text: &str, flags: LaptopFlags) -> Result<Inputs, InputError> {
        let (manifests, errors) = parse("f.yaml", text);
        assert!(errors.is_empty(), "{errors:?}");
        Inputs::on_laptop(manifests, flags)
    }

    #[test]
    fn flags_reach_objects_in_whatever_namespace() {
        let text = format!("{BACKEND}---\n{}", BACKEND.replace("name: search", "name: search, namespace: team"));
        let flags = LaptopFlags {
            backends: BTreeMap::from([("search".to_owned(), "http://localhost:1/mcp".to_owned())]),
            secrets: BTreeMap::from([(("github".to_owned(), "token".to_owned()), Content::Other)]),
            bound_to_loopback: true,
        };
        let inputs = on_laptop(&text, flags).unwrap();
        let Mode::Laptop(laptop) = &inputs.mode else { panic!("{:?}", inputs.mode) };
        assert_eq!(
            laptop.backends.keys().map(ToString::to_string).collect::<Vec<_>>(),
            ["default/search", "team/search"]
        );
        assert_eq!(inputs.facts.secrets.len(), 2);
        assert!(laptop.bound_to_loopback);
    }

    #[test]
    fn an_object_said_twice_is_refused_at_its_second_place() {
        let error = on_laptop(&format!("{BACKEND}---\n{BACKEND}"), LaptopFlags::default()).unwrap_err();
        assert_eq!(error.to_string(), "f.yaml:6: MCPBackend default/search is defined twice");
    }

    #[test]
    fn a_flag_about_no_backend_is_refused() {
        let flags =
            LaptopFlags { backends: BTreeMap::from([("serach".to_owned(), String::new())]), ..LaptopFlags::default() };
        assert!(matches!(on_laptop(BACKEND, flags), Err(InputError::UnknownBackend(name)) if name == "serach"));
    }
}
