//! What the operator looks after: a whole cluster, or single namespaces.

use kube::api::DynamicObject;
use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use std::collections::BTreeSet;

/// Where the operator watches, and so where it may be allowed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace: needs cluster roles.
    Cluster,
    /// These namespaces only: roles in them are enough.
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// The whole cluster if no namespace is named.
    pub fn of(namespaces: impl IntoIterator<Item = String>) -> Self {
        let named: BTreeSet<String> = namespaces.into_iter().collect();
        if named.is_empty() { Self::Cluster } else { Self::Namespaces(named) }
    }

    /// The namespaces to watch one by one; `None` stands for all of them together.
    pub(super) fn namespaces(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// The objects of a kind in one namespace, or in all.
pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The same for a kind that is known at run time only.
pub(super) fn dynamic_api(client: &Client, namespace: Option<&str>, kind: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    }
}
