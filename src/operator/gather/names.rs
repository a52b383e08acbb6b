//! Which Secrets and `ConfigMap`s our objects name.

use crate::api::McpBackendSpec;
use crate::api::pod::{EnvFromSource, EnvVar, Volume};
use crate::ir::ids::ObjectId;
use crate::operator::tokens;
use crate::translate::Inputs;
use crate::translate::naming::backend_objects;
use std::collections::BTreeSet;

/// What has to be read by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::operator) struct Referenced {
    pub(in crate::operator) secrets: BTreeSet<ObjectId>,
    pub(in crate::operator) config_maps: BTreeSet<ObjectId>,
    /// Services whose addresses are looked at: those that backends name, and those of the pods that the operator runs.
    pub(in crate::operator) services: BTreeSet<ObjectId>,
}

pub(super) fn referenced(inputs: &Inputs) -> Referenced {
    let mut named = Referenced::default();
    for (id, gateway) in &inputs.gateways {
        let certificates = gateway.spec.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        for reference in certificates.flat_map(|tls| &tls.certificate_refs) {
            named.secrets.insert(ObjectId::new(&id.namespace, &reference.name));
        }
        for header in gateway.spec.telemetry.otlp.iter().flat_map(|otlp| &otlp.headers) {
            named.secret(&id.namespace, &header.value_from.secret_key_ref.name);
        }
    }
    for (id, backend) in &inputs.backends {
        named.of_backend(id, &backend.spec);
    }
    named
}

impl Referenced {
    fn of_backend(&mut self, id: &ObjectId, spec: &McpBackendSpec) {
        let namespace = &id.namespace;
        let service = spec.service.as_ref().map(|service| service.name.clone());
        self.services.insert(ObjectId::new(namespace, service.unwrap_or_else(|| backend_objects(&id.name))));
        if let Some(header) = &spec.auth.header {
            self.secret(namespace, &header.value_from.secret_key_ref.name);
        }
        if let Some(tls) = spec.remote.as_ref().and_then(|remote| remote.tls.as_ref()) {
            self.secret(namespace, &tls.ca_certificate_ref.name);
        }
        if let Some(stdio) = &spec.stdio {
            self.secrets.insert(tokens::secret_id(id));
            self.environment(namespace, &stdio.env, &stdio.env_from);
            self.volumes(namespace, &stdio.volumes);
        }
        if let Some(http) = &spec.http {
            self.environment(namespace, &http.env, &http.env_from);
            self.volumes(namespace, &http.volumes);
        }
    }

    fn environment(&mut self, namespace: &str, env: &[EnvVar], env_from: &[EnvFromSource]) {
        for source in env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            if let Some(reference) = &source.secret_key_ref {
                self.secret(namespace, &reference.name);
            }
            if let Some(reference) = &source.config_map_key_ref {
                self.config_maps.insert(ObjectId::new(namespace, &reference.name));
            }
        }
        for source in env_from {
            if let Some(reference) = &source.secret_ref {
                self.secret(namespace, &reference.name);
            }
            if let Some(reference) = &source.config_map_ref {
                self.config_maps.insert(ObjectId::new(namespace, &reference.name));
            }
        }
    }

    fn volumes(&mut self, namespace: &str, volumes: &[Volume]) {
        for volume in volumes {
            if let Some(name) = volume.secret() {
                self.secret(namespace, name);
            }
            if let Some(name) = volume.config_map() {
                self.config_maps.insert(ObjectId::new(namespace, name));
            }
        }
    }

    fn secret(&mut self, namespace: &str, name: &str) {
        self.secrets.insert(ObjectId::new(namespace, name));
    }

    /// Secrets and `ConfigMap`s.
    pub(in crate::operator) fn data(&self) -> BTreeSet<ObjectId> {
        self.secrets.union(&self.config_maps).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::manifests;

    #[test]
    fn every_place_that_can_name_one_is_looked_at() {
        let text = r"
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: gw, namespace: a}
spec:
  listeners: [{name: x, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: tls}]}}]
  telemetry: {otlp: {endpoint: http://otel:4317, headers: [{name: x, valueFrom: {secretKeyRef: {name: otel, key: k}}}]}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: hosted, namespace: b}
spec:
  remote: {url: https://example.com/mcp, tls: {caCertificateRef: {name: ca}}}
  auth: {type: Header, header: {valueFrom: {secretKeyRef: {name: token, key: k}}}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: run, namespace: b}
spec:
  stdio:
    image: i
    command: [c]
    env:
    - {name: A, valueFrom: {secretKeyRef: {name: env, key: k}}}
    - {name: B, valueFrom: {configMapKeyRef: {name: settings, key: k}}}
    envFrom: [{secretRef: {name: all}}, {configMapRef: {name: more}}]
    volumes:
    - {name: a, secret: {secretName: file}}
    - {name: b, configMap: {name: files}}
    - {name: c, secret: {secretName: perhaps, optional: true}}
";
        let found = referenced(&manifests::inputs(text));
        let names = |ids: &BTreeSet<ObjectId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&found.secrets), "a/otel a/tls b/all b/ca b/env b/file b/mcpbe-run b/token");
        assert_eq!(names(&found.config_maps), "b/files b/more b/settings");
        assert_eq!(names(&found.services), "b/mcpbe-hosted b/mcpbe-run");
        assert_eq!(found.data().len(), 11);
    }
}
