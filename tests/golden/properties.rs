//! What holds for every world: the golden cases, and worlds that nobody thought of.

use crate::support::cases;
use crate::worlds::{World, world};
use mcp_gateway_operator::api::auth_policy::{AnonymousAccess, PolicyTargetKind};
use mcp_gateway_operator::api::common::FromNamespaces;
use mcp_gateway_operator::ir::generation::{decode_snapshot, encode_snapshot};
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::ir::snapshot::{Access, Snapshot};
use mcp_gateway_operator::translate::facts::Mode;
use mcp_gateway_operator::translate::{Inputs, Plan, translate};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Permutations tried of each golden case.
const PERMUTATIONS: u32 = 4;

#[test]
fn the_order_of_objects_in_a_file_changes_nothing() {
    for case in cases() {
        // Its plan takes seconds to make, and its objects are two handfuls.
        if case.name() == "snapshot-too-large" {
            continue;
        }
        let (manifests, surroundings) = case.read();
        let plan = translate(&surroundings.with(manifests.clone()));
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(PERMUTATIONS) });
        let outcome = runner.run(&Just(manifests).prop_shuffle(), |shuffled| {
            prop_assert_eq!(&translate(&surroundings.with(shuffled)), &plan);
            Ok(())
        });
        assert!(outcome.is_ok(), "{}: {}", case.name(), outcome.unwrap_err());
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(256) })]

    #[test]
    fn the_order_of_any_worlds_objects_changes_nothing((world, shuffled) in world().prop_flat_map(|world| {
        let shuffled = world.shuffled();
        (Just(world), shuffled)
    })) {
        prop_assert_eq!(translate(&world.inputs()), translate(&shuffled.inputs()));
    }

    #[test]
    fn any_world_gives_a_sound_plan(world in world()) {
        let inputs = world.inputs();
        let plan = translate(&inputs);
        every_object_is_spoken_of(&inputs, &plan)?;
        let in_a_cluster = matches!(inputs.mode, Mode::Cluster(_));
        for (gateway, planned) in &plan.gateways {
            prop_assert_eq!(planned.infra.is_some(), planned.snapshot.is_some() && in_a_cluster);
            if let Some(snapshot) = &planned.snapshot {
                snapshot_is_whole(snapshot)?;
                exposure_is_allowed(&inputs, gateway, snapshot)?;
                borders_are_kept(&inputs, gateway, snapshot)?;
            }
        }
    }

    #[test]
    fn a_younger_route_takes_nothing_from_the_others(world in world()) {
        let served = |world: &World| -> Vec<(ObjectId, ObjectId)> {
            let plan = translate(&world.inputs());
            let snapshots = plan.gateways.into_iter().filter_map(|(gateway, planned)| Some((gateway, planned.snapshot?)));
            snapshots.flat_map(|(gateway, snapshot)| snapshot.routes.into_iter().map(move |route| (gateway.clone(), route.id))).collect()
        };
        let before = served(&world);
        let after = served(&world.with_a_younger_route());
        for route in before {
            prop_assert!(after.contains(&route), "{route:?}");
        }
    }
}

fn every_object_is_spoken_of(inputs: &Inputs, plan: &Plan) -> Result<(), TestCaseError> {
    prop_assert!(inputs.gateways.keys().eq(plan.gateways.keys()));
    prop_assert!(inputs.backends.keys().eq(plan.backends.keys()));
    prop_assert!(inputs.auth_policies.keys().all(|id| plan.auth_policies.contains_key(id)));
    for (id, route) in &inputs.routes {
        prop_assert_eq!(plan.routes.get(id).map(|planned| planned.parents.len()), Some(route.spec.parent_refs.len()));
    }
    Ok(())
}

/// What the data plane takes for granted.
fn snapshot_is_whole(snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let read_back = decode_snapshot(&encode_snapshot(snapshot).unwrap()).unwrap();
    prop_assert_eq!(&read_back, snapshot);
    prop_assert!(!snapshot.listeners.is_empty());
    for route in &snapshot.routes {
        prop_assert!(!route.matches.is_empty() && !route.listeners.is_empty());
        for listener in &route.listeners {
            prop_assert!(snapshot.listeners.iter().any(|served| served.name == *listener), "{listener}");
        }
        prop_assert!(route.access != Access::Anonymous || !route.servers.is_empty());
        for server in &route.servers {
            prop_assert!(!server.tiers.is_empty() && server.failover.attempts > 0);
            prop_assert!(server.tiers.is_sorted_by(|left, right| left.priority < right.priority));
            for tier in &server.tiers {
                prop_assert!(tier.backends.iter().any(|backend| backend.weight > 0));
                prop_assert!(tier.backends.iter().all(|backend| snapshot.backends.contains_key(&backend.backend)));
            }
        }
    }
    Ok(())
}

/// A route that everyone may use was opened by someone who may: a policy on it or on its gateway, or a laptop.
fn exposure_is_allowed(inputs: &Inputs, gateway: &ObjectId, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    if matches!(&inputs.mode, Mode::Laptop(laptop) if laptop.bound_to_loopback) {
        return Ok(());
    }
    let opens = |kind: PolicyTargetKind, target: &ObjectId| {
        inputs.auth_policies.iter().any(|(id, policy)| {
            id.namespace == target.namespace
                && policy.spec.anonymous == AnonymousAccess::Allow
                && policy
                    .spec
                    .target_refs
                    .iter()
                    .any(|reference| reference.kind == kind && reference.name == target.name)
        })
    };
    for route in snapshot.routes.iter().filter(|route| route.access == Access::Anonymous) {
        prop_assert!(
            opens(PolicyTargetKind::MCPGateway, gateway) || opens(PolicyTargetKind::MCPRoute, &route.id),
            "nobody opened {} at {gateway}",
            route.id
        );
        let is_unreadable = |id: &ObjectId| id.namespace == gateway.namespace;
        prop_assert!(!inputs.unreadable_policies.keys().any(is_unreadable));
    }
    Ok(())
}

/// Nothing crosses a namespace without its owner's consent.
fn borders_are_kept(inputs: &Inputs, gateway: &ObjectId, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    for route in &snapshot.routes {
        for name in route.listeners.iter().filter(|_| route.id.namespace != gateway.namespace) {
            let mut listeners =
                inputs.gateways[gateway].spec.listeners.iter().filter(|listener| listener.name == *name);
            let consents = listeners.any(|listener| listener.allowed_routes.namespaces.from != FromNamespaces::Same);
            prop_assert!(consents, "{} at {gateway}", route.id);
        }
        for backend in route.servers.iter().flat_map(|server| &server.tiers).flat_map(|tier| &tier.backends) {
            let consents =
                inputs.backends[&backend.backend].spec.allowed_routes.namespaces.from != FromNamespaces::Same;
            prop_assert!(
                consents || backend.backend.namespace == route.id.namespace,
                "{} to {}",
                route.id,
                backend.backend
            );
        }
    }
    Ok(())
}

/// The properties above say little of worlds in which nothing is served, so there must be enough of the others.
#[test]
fn generated_worlds_serve_and_refuse() {
    let mut runner = TestRunner::deterministic();
    let (mut open, mut closed) = (0, 0);
    for _ in 0..200 {
        let plan = translate(&world().new_tree(&mut runner).unwrap().current().inputs());
        let snapshots = plan.gateways.values().filter_map(|planned| planned.snapshot.as_ref());
        let routes = snapshots.flat_map(|snapshot| &snapshot.routes);
        open += routes.filter(|route| route.access == Access::Anonymous).count();
        closed += plan.gateways.values().filter(|planned| planned.snapshot.is_none()).count();
    }
    assert!(open >= 50 && closed >= 20, "{open} routes are served, {closed} gateways are not");
}
