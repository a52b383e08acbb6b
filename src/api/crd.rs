//! The custom resource definitions, as they are installed.

use super::{McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

/// Every definition, in the order of the documentation.
pub fn all() -> Vec<CustomResourceDefinition> {
    [McpGateway::crd(), McpBackend::crd(), McpRoute::crd(), McpAuthPolicy::crd()].map(finish).into()
}

/// The schema of a whole object, as JSON.
pub fn schema(definition: &CustomResourceDefinition) -> Value {
    let schema =
        definition.spec.versions.iter().find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    serde_json::to_value(schema).unwrap_or_default()
}

/// Makes a derived definition what the API server likes.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            each_schema(root, &mut |schema| {
                // An absent field is absent; `field: null` is then an error with the field's name.
                schema.nullable = None;
                // Formats of Rust's integers, which the API server warns about; the bounds stay.
                if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
                    schema.format = Some("int64".to_owned()).filter(|_| schema.maximum.is_none());
                }
            });
            root.description = root.description.take().or_else(|| Some(crd.spec.names.kind.clone()));
        }
    }
    crd
}

/// Visits a schema and all below it.
fn each_schema(schema: &mut JSONSchemaProps, visit: &mut impl FnMut(&mut JSONSchemaProps)) {
    visit(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        each_schema(property, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        each_schema(items, visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        each_schema(values, visit);
    }
}
