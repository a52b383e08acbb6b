//! Attaching a route to the listeners of a gateway, as Gateway API does it.

use super::claims::Site;
use super::facts::Facts;
use super::gateways::CheckedGateway;
use super::hostnames;
use super::inputs::Inputs;
use super::listeners::CheckedListener;
use super::problem::Problem;
use super::routes::CheckedRoute;
use super::tenancy;
use crate::api::conditions::Reason;
use crate::api::route::ParentRef;
use crate::ir::ids::ObjectId;
use std::collections::BTreeMap;

/// One parentRef of a route, and where it leads.
pub(super) struct Attachment<'a> {
    pub(super) gateway: ObjectId,
    pub(super) parent: &'a ParentRef,
    /// The listeners the route is attached to, and for which hosts.
    pub(super) sites: Result<Vec<Site>, Problem>,
}

/// What a route may be attached to, fewer with each step.
struct Candidate<'a> {
    namespace: &'a str,
    hosts: &'a [String],
    facts: &'a Facts,
    gateway: &'a ObjectId,
}

/// All parentRefs of all routes.
pub(super) fn routes<'a>(
    inputs: &'a Inputs,
    gateways: &BTreeMap<&ObjectId, CheckedGateway<'_>>,
    checked: &BTreeMap<&ObjectId, CheckedRoute<'_>>,
) -> BTreeMap<&'a ObjectId, Vec<Attachment<'a>>> {
    let attach_all = |(id, route): (&'a ObjectId, &'a crate::api::McpRoute)| {
        let hosts = checked.get(id).map(|route| route.hostnames.as_slice()).unwrap_or_default();
        let attachments = route.spec.parent_refs.iter().map(|parent| {
            let namespace = parent.namespace.as_deref().unwrap_or(&id.namespace);
            let gateway = ObjectId::new(namespace, &parent.name);
            let candidate = Candidate { namespace: &id.namespace, hosts, facts: &inputs.facts, gateway: &gateway };
            let sites = candidate.attach(parent, gateways.get(&gateway));
            Attachment { gateway, parent, sites }
        });
        (id, attachments.collect())
    };
    inputs.routes.iter().map(attach_all).collect()
}

/// The routes that name each gateway, oldest first, with what of each is about that gateway.
pub(super) type Attached<'a> = BTreeMap<&'a ObjectId, Vec<(&'a ObjectId, Vec<&'a Attachment<'a>>)>>;

/// The same attachments, seen from the gateways.
pub(super) fn by_gateway<'a>(
    inputs: &'a Inputs,
    attachments: &'a BTreeMap<&'a ObjectId, Vec<Attachment<'a>>>,
) -> Attached<'a> {
    let mut attached = Attached::new();
    for (id, _) in super::oldest_first(&inputs.routes, |route| &route.metadata) {
        let mut here: BTreeMap<&ObjectId, Vec<&Attachment<'_>>> = BTreeMap::new();
        for attachment in attachments.get(id).into_iter().flatten() {
            here.entry(&attachment.gateway).or_default().push(attachment);
        }
        for (gateway, attachments) in here {
            attached.entry(gateway).or_default().push((id, attachments));
        }
    }
    attached
}

impl Candidate<'_> {
    fn attach(&self, parent: &ParentRef, gateway: Option<&CheckedGateway<'_>>) -> Result<Vec<Site>, Problem> {
        let gateway = gateway.ok_or_else(|| self.no_gateway())?;
        let named = self.named(&gateway.listeners, parent.section_name.as_deref())?;
        let allowed = self.allowed(named)?;
        let served = self.served(allowed)?;
        self.with_common_hosts(&served)
    }

    fn no_gateway(&self) -> Problem {
        let message =
            format!("spec.parentRefs: MCPGateway {} does not exist; create it or correct the name", self.gateway);
        Problem::new(Reason::NoMatchingParent, message)
    }

    fn named<'l>(
        &self,
        listeners: &'l [CheckedListener<'l>],
        section: Option<&str>,
    ) -> Result<Vec<&'l CheckedListener<'l>>, Problem> {
        let Some(section) = section else { return Ok(listeners.iter().collect()) };
        let chosen: Vec<_> = listeners.iter().filter(|listener| listener.spec.name == section).collect();
        if chosen.is_empty() {
            let names: Vec<&str> = listeners.iter().map(|listener| listener.spec.name.as_str()).collect();
            return Err(Problem::new(
                Reason::NoMatchingParent,
                format!(
                    "spec.parentRefs[].sectionName: MCPGateway {} has no listener {section}; it has {}",
                    self.gateway,
                    names.join(", ")
                ),
            ));
        }
        Ok(chosen)
    }

    fn allowed<'l>(&self, listeners: Vec<&'l CheckedListener<'l>>) -> Result<Vec<&'l CheckedListener<'l>>, Problem> {
        let allows = |listener: &&CheckedListener<'_>| {
            tenancy::allows(&listener.spec.allowed_routes, &self.gateway.namespace, self.namespace, self.facts)
        };
        let allowed: Vec<_> = listeners.into_iter().filter(allows).collect();
        if allowed.is_empty() {
            return Err(Problem::new(
                Reason::NotAllowedByListeners,
                format!(
                    "no listener of MCPGateway {} allows routes of namespace {}; its owner allows them by spec.listeners[].allowedRoutes",
                    self.gateway, self.namespace
                ),
            ));
        }
        Ok(allowed)
    }

    fn served<'l>(&self, listeners: Vec<&'l CheckedListener<'l>>) -> Result<Vec<&'l CheckedListener<'l>>, Problem> {
        let names: Vec<&str> = listeners.iter().map(|listener| listener.spec.name.as_str()).collect();
        let message =
            format!("MCPGateway {} cannot serve listener {}; its conditions say why", self.gateway, names.join(", "));
        let served: Vec<_> = listeners.into_iter().filter(|listener| listener.served.is_some()).collect();
        if served.is_empty() { Err(Problem::new(Reason::ListenersNotValid, message)) } else { Ok(served) }
    }

    fn with_common_hosts(&self, listeners: &[&CheckedListener<'_>]) -> Result<Vec<Site>, Problem> {
        let site = |listener: &&CheckedListener<'_>| {
            let hosts = hostnames::effective(listener.spec.hostname.as_deref(), self.hosts)?;
            Some(Site { listener: listener.spec.name.clone(), hosts })
        };
        let sites: Vec<Site> = listeners.iter().filter_map(site).collect();
        if sites.is_empty() {
            let theirs: Vec<&str> = listeners.iter().filter_map(|listener| listener.spec.hostname.as_deref()).collect();
            return Err(Problem::new(
                Reason::NoMatchingListenerHostname,
                format!(
                    "spec.hostnames: none of {} is a host of the listeners of MCPGateway {}: {}",
                    self.hosts.join(", "),
                    self.gateway,
                    theirs.join(", ")
                ),
            ));
        }
        Ok(sites)
    }
}
