//! The status of an `MCPRoute`, at each of its gateways.

use super::seen::SeenGateway;
use super::servers::Servers;
use super::text::{count, summary};
use super::{Problem, Stamp, broken, find};
use crate::api::conditions::{ConditionStatus, ConditionType, Finding, Reason};
use crate::api::route::{ParentRef, RouteParentStatus, RouteServerStatus};
use crate::api::{CONTROLLER_NAME, McpRouteStatus};
use crate::ir::ids::ObjectId;
use crate::translate::{ParentPlan, Plan};
use std::collections::BTreeMap;

/// What pods report of a route, in the order of the conditions.
const REPORTED: [ConditionType; 4] =
    [ConditionType::Programmed, ConditionType::Ready, ConditionType::PrimaryActive, ConditionType::CatalogComplete];

/// The whole status of a route. `gateways` has what is seen of the gateways that its parentRefs name.
pub(in crate::operator) fn route_status(
    id: &ObjectId,
    parent_refs: &[ParentRef],
    plan: &Plan,
    gateways: &BTreeMap<ObjectId, SeenGateway>,
    before: &McpRouteStatus,
    stamp: &Stamp,
) -> McpRouteStatus {
    let plans = plan.routes.get(id).map(|route| route.parents.as_slice()).unwrap_or_default();
    let parents: Vec<Parent> = parent_refs
        .iter()
        .zip(plans)
        .map(|(parent_ref, parent)| {
            let before = before
                .parents
                .iter()
                .find(|parent| parent.parent_ref == *parent_ref && parent.controller_name == CONTROLLER_NAME);
            let at_parent = AtParent { id, parent, plan, seen: gateways.get(&parent.gateway), before };
            at_parent.status(parent_ref, stamp)
        })
        .collect();
    let worst = parents.iter().min_by_key(|parent| parent.rank);
    let sentence = worst.map(|worst| match parents.len() {
        1 => worst.sentence.clone(),
        _ => format!("At {}: {}", worst.gateway, worst.sentence),
    });
    McpRouteStatus {
        summary: sentence.map(summary),
        parents: parents.into_iter().map(|parent| parent.status).collect(),
    }
}

/// What a route is at one parent, with the sentence that says it.
struct Parent {
    gateway: ObjectId,
    status: RouteParentStatus,
    sentence: String,
    /// The lower, the worse.
    rank: usize,
}

struct AtParent<'a> {
    id: &'a ObjectId,
    parent: &'a ParentPlan,
    plan: &'a Plan,
    seen: Option<&'a SeenGateway>,
    before: Option<&'a RouteParentStatus>,
}

impl AtParent<'_> {
    fn status(&self, parent_ref: &ParentRef, stamp: &Stamp) -> Parent {
        let reported = match (broken(&self.parent.conditions, ConditionType::Accepted), self.seen) {
            (Some(accepted), _) => Reported::not_accepted(accepted),
            (None, None) => {
                self.standing(stamp).unwrap_or_else(|| Reported::pending("its gateway was not looked at yet"))
            }
            (None, Some(seen)) if seen.is_first_look() => {
                self.standing(stamp).unwrap_or_else(|| self.reported(seen, stamp))
            }
            (None, Some(seen)) => self.reported(seen, stamp),
        };
        let (rank, sentence) = sentence(&self.parent.conditions, &reported);
        let findings = [self.parent.conditions.as_slice(), &reported.findings].concat();
        let before = self.before.map(|before| before.conditions.as_slice()).unwrap_or_default();
        Parent {
            gateway: self.parent.gateway.clone(),
            status: RouteParentStatus {
                parent_ref: parent_ref.clone(),
                controller_name: CONTROLLER_NAME.to_owned(),
                conditions: stamp.conditions(findings, before),
                servers: reported.servers,
            },
            sentence,
            rank,
        }
    }

    /// What was said before, if all of it was, of the route as it is now.
    fn standing(&self, stamp: &Stamp) -> Option<Reported> {
        let before = self.before?;
        let findings: Vec<Finding> =
            REPORTED.iter().filter_map(|type_| stamp.standing(*type_, &before.conditions)).collect();
        let was_served = !before.servers.is_empty() && findings.len() == REPORTED.len();
        was_served.then(|| Reported { findings, servers: before.servers.clone(), pods: None })
    }

    fn reported(&self, seen: &SeenGateway, stamp: &Stamp) -> Reported {
        let snapshot = self.plan.gateways.get(&self.parent.gateway).and_then(|gateway| gateway.snapshot.as_ref());
        let reports = seen.reports();
        let servers = Servers::new(self.id, snapshot, &reports);
        let findings = match self.unknown(seen, &servers) {
            // Whether it is in force at the pods is known all the same.
            Some(problem) => {
                let unknown = |type_| Finding::unknown(type_, problem.reason, problem.message.clone());
                let ready = if seen.serving().is_empty() {
                    problem.clone().finding(ConditionType::Ready)
                } else {
                    unknown(ConditionType::Ready)
                };
                vec![
                    seen.programmed(),
                    ready,
                    unknown(ConditionType::PrimaryActive),
                    unknown(ConditionType::CatalogComplete),
                ]
            }
            None => vec![
                seen.programmed(),
                self.ready(&servers, stamp),
                servers.primary_active(),
                servers.catalog_complete(),
            ],
        };
        Reported { findings, servers: servers.statuses(), pods: Some(servers.pods()) }
    }

    /// Pods that are new have not tried anything: what was said before stands until one has.
    fn ready(&self, servers: &Servers<'_>, stamp: &Stamp) -> Finding {
        let type_ = ConditionType::Ready;
        if let Some(problem) = servers.unavailable() {
            return problem.finding(type_);
        }
        if !servers.is_untried() {
            return Finding::good(type_, Reason::Ready, "");
        }
        let before = self.before.and_then(|before| stamp.standing(type_, &before.conditions));
        before.unwrap_or_else(|| Problem::pending("no pod has had an answer of a server yet").finding(type_))
    }

    /// Why no pod says anything of the route.
    fn unknown(&self, seen: &SeenGateway, servers: &Servers<'_>) -> Option<Problem> {
        if servers.pods() > 0 {
            return None;
        }
        let gateway = &self.parent.gateway;
        if seen.serving().is_empty() {
            let Problem { reason, message } = seen.no_ready_pod();
            return Some(Problem::new(reason, format!("no pod of {gateway} is ready: {message}")));
        }
        let untold = || Problem::pending(format!("no pod of {gateway} has reported on it yet"));
        Some(seen.silence().unwrap_or_else(untold))
    }
}

/// What pods report of a route, of each type in [`REPORTED`].
struct Reported {
    findings: Vec<Finding>,
    servers: Vec<RouteServerStatus>,
    /// How many pods report it; absent where what was said before stands.
    pods: Option<usize>,
}

impl Reported {
    fn not_accepted(accepted: &Finding) -> Self {
        let bad = |type_| Finding::bad(type_, accepted.reason, "the route is not accepted; see Accepted");
        let nobody = |type_| Finding::unknown(type_, Reason::NotAttached, "the route is not accepted; see Accepted");
        let [programmed, ready, primary_active, catalog_complete] = REPORTED;
        Self {
            findings: vec![bad(programmed), bad(ready), nobody(primary_active), nobody(catalog_complete)],
            servers: Vec::new(),
            pods: None,
        }
    }

    fn pending(why: &str) -> Self {
        let findings = REPORTED.iter().map(|type_| Problem::pending(why).finding(*type_)).collect();
        Self { findings, servers: Vec::new(), pods: None }
    }
}

/// Whether a condition is as bad as this.
type IsSo = fn(&&Finding) -> bool;

/// What is worst, in one sentence, and how bad that is: the lower, the worse.
fn sentence(planned: &[Finding], reported: &Reported) -> (usize, String) {
    let findings = [planned, &reported.findings].concat();
    let is_false = |finding: &&Finding| finding.status == ConditionStatus::False;
    let is_not_true = |finding: &&Finding| finding.status != ConditionStatus::True;
    let worst: [(ConditionType, IsSo, &str); 6] = [
        (ConditionType::Accepted, is_false, "Not accepted"),
        (ConditionType::Ready, is_false, "Not served"),
        (ConditionType::Ready, is_not_true, "Waiting"),
        (ConditionType::PrimaryActive, is_false, "Served, but failed over"),
        (ConditionType::CatalogComplete, is_false, "Served, but not whole"),
        (ConditionType::Programmed, is_not_true, "Served, but not everywhere as it should be"),
    ];
    for (rank, (type_, is_so, what)) in worst.into_iter().enumerate() {
        if let Some(finding) = find(&findings, type_).filter(is_so) {
            return (rank, format!("{what}: {}", finding.message));
        }
    }
    let tools: usize = reported.servers.iter().filter_map(|server| usize::try_from(server.tools?).ok()).sum();
    let pods = reported.pods.or_else(|| {
        let most = reported.servers.iter().filter_map(|server| server.reporting).max()?;
        usize::try_from(most).ok()
    });
    let servers = count(reported.servers.len(), "server");
    let sentence =
        format!("Served by {}: {} of {servers}", count(pods.unwrap_or_default(), "pod"), count(tools, "tool"));
    (worst_rank(), sentence)
}

/// The rank of a route that is as it should be.
const fn worst_rank() -> usize {
    usize::MAX
}
