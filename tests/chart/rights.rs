//! Roles.

use crate::helm::{all_objects, items, objects, of_kind, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A rule, one for each group, resource and verb: a role says the same in many ways.
type Rights = BTreeSet<(String, String, String)>;

#[test]
fn single_namespaces_need_the_same_rights_but_for_namespaces() {
    let cluster = objects(None);
    let single = objects(Some("namespaced"));
    let mut expected = rights(named(&cluster, "ClusterRole", "mcp-operator"));
    for verb in ["list", "watch"] {
        assert!(expected.remove(&(String::new(), "namespaces".to_owned(), verb.to_owned())));
    }
    let roles: Vec<&Value> =
        of_kind(&single, "Role").into_iter().filter(|role| text(role, "/metadata/name") == "mcp-operator").collect();
    let namespaces: Vec<&str> = roles.iter().map(|role| text(role, "/metadata/namespace")).collect();
    assert_eq!(namespaces, ["team-a", "team-b"]);
    for role in roles {
        assert_eq!(rights(role), expected);
    }
}

#[test]
fn in_single_namespaces_nothing_is_of_the_cluster() {
    for object in objects(Some("namespaced")) {
        let namespace = text(&object, "/metadata/namespace");
        let what = format!("{} {}", text(&object, "/kind"), text(&object, "/metadata/name"));
        assert!(["mcp-system", "team-a", "team-b"].contains(&namespace), "{what} is in {namespace:?}");
        assert!(!text(&object, "/roleRef/kind").starts_with("Cluster"), "{what}");
    }
}

#[test]
fn every_role_is_bound_to_the_operator_alone() {
    for case in [None, Some("namespaced")] {
        let objects = objects(case);
        for kind in ["ClusterRole", "Role"] {
            for role in objects.iter().filter(|object| object["kind"] == kind && !is_for_people(object)) {
                let [name, namespace] = ["name", "namespace"].map(|field| &role["metadata"][field]);
                let binds = |binding: &&Value| {
                    binding["kind"] == format!("{kind}Binding")
                        && binding["roleRef"]["name"] == *name
                        && binding["metadata"]["namespace"] == *namespace
                };
                let bindings: Vec<&Value> = objects.iter().filter(binds).collect();
                let operator = json!([{"kind": "ServiceAccount", "name": "mcp-operator", "namespace": "mcp-system"}]);
                assert_eq!(bindings.len(), 1, "{kind} {name}");
                assert_eq!(bindings[0]["subjects"], operator, "{kind} {name}");
            }
        }
    }
}

#[test]
fn no_right_is_open_ended() {
    for role in all_objects().iter().filter(|object| text(object, "/kind").ends_with("Role")) {
        for (group, resource, verb) in rights(role) {
            let right = format!("{verb} {resource}.{group}");
            assert!(!right.contains('*'), "{right}");
            assert!(!["escalate", "bind", "impersonate"].contains(&verb.as_str()), "{right}");
            assert_ne!(group, "rbac.authorization.k8s.io", "{right}");
        }
    }
}

#[test]
fn the_lease_is_one_that_the_chart_owns() {
    for case in [None, Some("namespaced")] {
        let objects = objects(case);
        let lease = named(&objects, "Lease", "mcp-operator");
        assert_eq!(lease.get("spec"), None, "an upgrade would take the lease from its holder");
        let role = named(&objects, "Role", "mcp-operator-lease");
        let only = json!([{
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "resourceNames": ["mcp-operator"], "verbs": ["get", "update"],
        }]);
        assert_eq!(role["rules"], only);
    }
}

#[test]
fn people_get_what_their_role_is_for() {
    let objects = objects(None);
    let verbs = |role: &str, resource: &str| -> Vec<String> {
        let rights = rights(named(&objects, "ClusterRole", &format!("mcp-operator-{role}")));
        rights.into_iter().filter(|right| right.1 == resource).map(|right| right.2).collect()
    };
    let write = ["create", "delete", "deletecollection", "patch", "update"];
    for kind in ["mcpgateways", "mcpbackends", "mcproutes"] {
        assert_eq!(verbs("view", kind), ["get", "list", "watch"]);
        assert_eq!(verbs("edit", kind), write);
    }
    assert_eq!(verbs("edit", "mcpauthpolicies"), Vec::<String>::new());
    assert_eq!(verbs("admin", "mcpauthpolicies"), write);
}

#[test]
fn definitions_are_kept_unless_that_is_not_wanted() {
    let kept = |objects: &[Value]| {
        let is_kept = |object: &&Value| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
        of_kind(objects, "CustomResourceDefinition").into_iter().filter(is_kept).count()
    };
    assert_eq!(kept(&objects(None)), 4);
    let text = crate::helm::render(&["--set", "crds.keep=false"]);
    let objects = crate::helm::documents(&text);
    assert_eq!((kept(&objects), of_kind(&objects, "CustomResourceDefinition").len()), (0, 4));
}

/// Kubernetes adds it to a role of its own.
fn is_for_people(role: &Value) -> bool {
    let labels = role["metadata"]["labels"].as_object().unwrap();
    labels.keys().any(|label| label.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = of_kind(objects, kind).into_iter().find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn rights(role: &Value) -> Rights {
    let words = |rule: &Value, list: &str| -> Vec<String> {
        items(rule, list).map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = Rights::new();
    for rule in items(role, "/rules") {
        for group in words(rule, "/apiGroups") {
            for resource in words(rule, "/resources") {
                rights.extend(words(rule, "/verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    assert!(!rights.is_empty());
    rights
}
