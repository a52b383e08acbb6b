//! Who may use what across namespaces: the owner's `allowedRoutes`, and nothing else.

use super::facts::{Cluster, Facts, Mode};
use super::problem::Problem;
use crate::api::common::{AllowedRoutes, FromNamespaces};
use crate::api::conditions::Reason;

/// The label by which Kubernetes lets selectors name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Whether an object of namespace `owner` lets routes of namespace `guest` use it.
pub(super) fn allows(allowed: &AllowedRoutes, owner: &str, guest: &str, facts: &Facts) -> bool {
    match allowed.namespaces.from {
        FromNamespaces::Same => owner == guest,
        FromNamespaces::All => true,
        FromNamespaces::Selector => {
            let mut labels = facts.namespaces.get(guest).cloned().unwrap_or_default();
            labels.insert(NAME_LABEL.to_owned(), guest.to_owned());
            // Without a selector nobody was named.
            allowed.namespaces.selector.as_ref().is_some_and(|selector| selector.matches(&labels))
        }
    }
}

/// An operator of single namespaces sees no others, so consent to others is refused rather than half obeyed.
pub(super) fn reaches_too_far(allowed: &AllowedRoutes, field: &str, mode: &Mode) -> Option<Problem> {
    let from = allowed.namespaces.from;
    let is_confined = matches!(mode, Mode::Cluster(Cluster { namespaced: true, .. }));
    (is_confined && from != FromNamespaces::Same).then(|| {
        Problem::new(
            Reason::UnsupportedValue,
            format!("{field}.allowedRoutes.namespaces.from: {from:?} needs an operator that watches the whole cluster; use Same"),
        )
    })
}
