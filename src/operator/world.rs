//! The world as it was translated last, and the loop that translates it again.

use super::context::Context;
use super::gather::{self, Data};
use super::target::{Kind, Target};
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::secrets::PrivateBytes;
use crate::translate::{Inputs, Plan, translate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Changes come in bursts, such as one `kubectl apply`: they are translated together once this long has passed.
const SETTLE: Duration = Duration::from_millis(100);

/// Wait before what could not be read is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The values that a gateway's credentials are made of.
pub(super) type Values = BTreeMap<SecretKey, PrivateBytes>;

/// One translation.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Counts translations.
    pub(super) version: u64,
    pub(super) inputs: Inputs,
    pub(super) plan: Plan,
    /// The secret values that each gateway's snapshot names.
    pub(super) values: BTreeMap<ObjectId, Values>,
}

/// Translates whenever something changed, for ever, and has deployed and published what differs from before.
pub(super) async fn translate_forever(context: Arc<Context>) {
    let mut data = Data::default();
    loop {
        match step(&context, &mut data).await {
            Ok(()) => context.triggers.world.notified().await,
            Err(error) => {
                tracing::warn!(error, "the world could not be gathered; trying again");
                sleep(RETRY).await;
            }
        }
        sleep(SETTLE).await;
    }
}

async fn step(context: &Arc<Context>, data: &mut Data) -> Result<(), String> {
    // gather (client)
    let mut inputs = gather::objects(&context.caches, &context.options.scope, &context.options.server_kinds);
    let named = gather::referenced(&inputs);
    // Said before any of it is looked at, so that no change falls between the two.
    context.triggers.refer_to(named.data(), named.services.clone());
    inputs.facts = gather::facts(&inputs.backends, &context.caches);
    data.refresh(&context.client, &context.caches, &named).await.map_err(|error| error.to_string())?;
    data.make_tokens(&context.client, &inputs.backends).await;
    data.describe(&mut inputs);

    // translate (no client)
    let started = Instant::now();
    let translated = tokio::task::spawn_blocking(move || {
        let plan = translate(&inputs);
        (inputs, plan)
    });
    let (inputs, plan) = translated.await.map_err(|error| error.to_string())?;
    context.metrics.translated(started.elapsed());
    let values = plan.gateways.iter().map(|(id, gateway)| (id.clone(), data.values(&gateway.secrets))).collect();
    let before = context.world();
    let world = World { version: before.version + 1, inputs, plan, values };
    let Changes { deploy, publish } = changes(&before, &world);
    // Said before anybody sees the new world.
    context.deployments.expect(&deploy, world.version);
    context.replace_world(world);
    context.triggers.deploy.extend(deploy);
    context.triggers.publish.extend(publish);
    Ok(())
}

/// What has to be looked at after a translation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    deploy: BTreeSet<Target>,
    publish: BTreeSet<Target>,
}

fn changes(before: &World, after: &World) -> Changes {
    let mut changes = Changes::default();
    let (old, new) = (&before.plan, &after.plan);
    for id in differing(&old.gateways, &new.gateways).chain(differing(&before.values, &after.values)) {
        changes.both(Kind::Gateway, id);
    }
    for id in differing(&old.backends, &new.backends) {
        changes.both(Kind::Backend, id);
    }
    let routes = differing(&old.routes, &new.routes).map(|id| Target::new(Kind::Route, id.clone()));
    let policies =
        differing(&old.auth_policies, &new.auth_policies).map(|id| Target::new(Kind::AuthPolicy, id.clone()));
    // Where a backend is reached is in no plan; its own status tells how many places that are.
    let is_moved =
        |id: &ObjectId, spec| gather::endpoints(id, spec, &before.inputs) != gather::endpoints(id, spec, &after.inputs);
    let moved = after.inputs.backends.iter().filter(|(id, backend)| is_moved(id, &backend.spec));
    let moved = moved.map(|(id, _)| Target::new(Kind::Backend, id.clone()));
    changes.publish.extend(routes.chain(policies).chain(moved));
    changes
}

impl Changes {
    fn both(&mut self, kind: Kind, id: &ObjectId) {
        self.deploy.insert(Target::new(kind, id.clone()));
        self.publish.insert(Target::new(kind, id.clone()));
    }
}

/// The keys whose values are not the same in both.
fn differing<'a, V: PartialEq>(
    old: &'a BTreeMap<ObjectId, V>,
    new: &'a BTreeMap<ObjectId, V>,
) -> impl Iterator<Item = &'a ObjectId> {
    let changed = new.iter().filter(|(id, value)| old.get(*id) != Some(*value)).map(|(id, _)| id);
    changed.chain(old.keys().filter(|id| !new.contains_key(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::manifests;

    fn world(edit: fn(String) -> String) -> World {
        let gateway = |name: &str| {
            format!(
                "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {{name: {name}}}
spec: {{listeners: [{{name: http, port: 8080, protocol: HTTP}}]}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPAuthPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{kind: MCPGateway, name: {name}}}], anonymous: Allow}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {{name: {name}}}
spec: {{remote: {{url: https://{name}.example.com/mcp}}}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: {name}}}], servers: [{{name: s, backendRefs: [{{name: {name}}}]}}]}}
---
"
            )
        };
        let inputs = manifests::inputs(&edit(gateway("one") + &gateway("two")));
        World { version: 1, plan: translate(&inputs), inputs, values: BTreeMap::new() }
    }

    fn names(targets: &BTreeSet<Target>) -> Vec<String> {
        targets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_world_changes_nothing() {
        assert_eq!(changes(&world(|text| text), &world(|text| text)), Changes::default());
    }

    #[test]
    fn a_change_of_one_route_concerns_one_gateway() {
        let after =
            world(|text| text.replace("name: s, backendRefs: [{name: two}]", "name: t, backendRefs: [{name: two}]"));
        let changes = changes(&world(|text| text), &after);
        assert_eq!(names(&changes.deploy), ["MCPGateway default/two"]);
    }

    #[test]
    fn a_rotated_secret_concerns_the_gateway_that_names_it() {
        let before = world(|text| text);
        let mut after = world(|text| text);
        let value = Values::from([(SecretKey::new("default", "s", "k"), PrivateBytes::new(*b"new"))]);
        after.values.insert(ObjectId::new("default", "one"), value);
        assert_eq!(names(&changes(&before, &after).deploy), ["MCPGateway default/one"]);
    }

    #[test]
    fn addresses_of_a_backend_that_no_route_names_concern_the_backend() {
        let alone = || {
            world(|text| {
                text + "
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: alone}
spec: {http: {image: a, port: 8000}}
"
            })
        };
        let mut after = alone();
        after.inputs.facts.pods.insert(ObjectId::new("default", "alone"), BTreeSet::from(["10.0.0.1".to_owned()]));
        let changes = changes(&alone(), &after);
        assert_eq!(
            (names(&changes.deploy), names(&changes.publish)),
            (vec![], vec!["MCPBackend default/alone".into()])
        );
    }

    #[test]
    fn what_is_gone_is_looked_at_once_more() {
        let changes = changes(&world(|text| text), &World::default());
        assert_eq!(names(&changes.deploy).len(), 4);
        assert_eq!(names(&changes.publish).len(), 8);
    }
}
