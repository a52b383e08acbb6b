//! What leads to a gateway's Service from outside the cluster. Streams stay open for long and carry little, so that whoever
//! stands in front must neither end them by the clock nor hold back what they carry.

use super::metadata::{Subject, pairs};
use crate::ir::infra::{Expose, GatewayApiParent};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long ingress-nginx waits between two reads of a stream, in seconds: a gateway says something every 15 s, and a client that
/// is gone is noticed by TCP.
const NGINX_IDLE_SECONDS: &str = "3600";

/// The `HTTPRoute` of Gateway API, as a resource.
pub fn http_route_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}

/// The route from Gateways of Gateway API.
pub(super) fn http_route(subject: &Subject<'_>, expose: &Expose) -> Option<DynamicObject> {
    let Expose::HttpRoute { parents, port, hostnames } = expose else { return None };
    let mut spec = json!({
        "parentRefs": parents.iter().map(|parent| parent_ref(subject, parent)).collect::<Vec<_>>(),
        "rules": [{
            "backendRefs": [{ "name": subject.name, "port": port }],
            // None: the gateway has timeouts of its own, and streams have no end.
            "timeouts": { "request": "0s", "backendRequest": "0s" },
        }],
    });
    if !hostnames.is_empty() {
        spec["hostnames"] = json!(hostnames);
    }
    let mut route = DynamicObject::new(&subject.name, &http_route_resource()).data(json!({ "spec": spec }));
    route.metadata = subject.metadata();
    Some(route)
}

fn parent_ref(subject: &Subject<'_>, parent: &GatewayApiParent) -> Value {
    let mut reference = json!({ "name": parent.gateway.name });
    if parent.gateway.namespace != subject.id.namespace {
        reference["namespace"] = json!(parent.gateway.namespace);
    }
    if let Some(section) = &parent.section_name {
        reference["sectionName"] = json!(section);
    }
    reference
}

/// The Ingress.
pub(super) fn ingress(subject: &Subject<'_>, expose: &Expose) -> Option<Ingress> {
    let Expose::Ingress { class, port, hostnames } = expose else { return None };
    // The most used controller; others do not read these.
    let annotations = pairs([
        ("nginx.ingress.kubernetes.io/proxy-buffering", "off"),
        // No bound of the controller's: the gateway has its own, and its default is above nginx's.
        ("nginx.ingress.kubernetes.io/proxy-body-size", "0"),
        ("nginx.ingress.kubernetes.io/proxy-read-timeout", NGINX_IDLE_SECONDS),
        ("nginx.ingress.kubernetes.io/proxy-send-timeout", NGINX_IDLE_SECONDS),
    ]);
    Some(Ingress {
        metadata: ObjectMeta { annotations: Some(annotations), ..subject.metadata() },
        spec: Some(IngressSpec {
            ingress_class_name: class.clone(),
            rules: Some(rules(subject, *port, hostnames)),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    })
}

fn rules(subject: &Subject<'_>, port: u16, hostnames: &BTreeSet<String>) -> Vec<IngressRule> {
    let rule = |host: Option<String>| IngressRule {
        host,
        http: Some(HTTPIngressRuleValue {
            paths: vec![HTTPIngressPath {
                path: Some("/".to_owned()),
                path_type: "Prefix".to_owned(),
                backend: IngressBackend {
                    service: Some(IngressServiceBackend {
                        name: subject.name.clone(),
                        port: Some(ServiceBackendPort { number: Some(port.into()), name: None }),
                    }),
                    resource: None,
                },
            }],
        }),
    };
    if hostnames.is_empty() {
        return vec![rule(None)];
    }
    hostnames.iter().map(|host| rule(Some(host.clone()))).collect()
}
