//! What the API server would refuse of an object: bounds, patterns, duplicate keys and CEL rules, from the very
//! definitions that are installed.
//!
//! Types, required fields and unknown ones are found earlier, by whoever reads the object.

use super::crd;
use super::patterns::{DNS_LABEL, DNS_SUBDOMAIN, describe};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use regex::Regex;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// One thing that the API server would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as `spec.listeners[0].port`.
    pub path: String,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Checks objects against the definitions.
#[derive(Default)]
pub struct Checker {
    patterns: HashMap<String, Option<Regex>>,
    rules: Validator,
}

struct Definition {
    schema: Value,
    rules: CompiledSchema,
}

/// Every kind's definition. Compiling the rules takes milliseconds, so it is done once, and only if somebody asks.
static DEFINITIONS: LazyLock<HashMap<String, Definition>> = LazyLock::new(|| {
    let definition = |definition: CustomResourceDefinition| {
        let schema = crd::schema(&definition);
        let rules = compile_schema(&schema);
        (definition.spec.names.kind, Definition { schema, rules })
    };
    crd::all().into_iter().map(definition).collect()
});

impl Checker {
    /// A checker of every kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that the API server would refuse of `object`; empty for a good one. Rules are asked only of an object whose
    /// schema holds, as the API server does it.
    pub fn check<T: CustomResourceExt + Serialize>(&mut self, object: &T) -> Vec<Violation> {
        let value = serde_json::to_value(object).unwrap_or_default();
        let Some(definition) = DEFINITIONS.get(&T::api_resource().kind) else { return Vec::new() };
        let mut walk = Walk { patterns: &mut self.patterns, found: Vec::new() };
        walk.metadata(&value["metadata"]);
        walk.value(&definition.schema, &value, "");
        let mut found = walk.found;
        if found.is_empty() {
            found = rule_violations(&self.rules, &definition.rules, &value);
        }
        found
    }
}

/// What the API server would refuse of an object of `kind` that the kind's own type may be unable to hold, without rules.
pub fn bounds(kind: &str, object: &Value) -> Vec<Violation> {
    let Some(definition) = DEFINITIONS.get(kind) else { return Vec::new() };
    let mut walk = Walk { patterns: &mut HashMap::new(), found: Vec::new() };
    walk.value(&definition.schema, object, "");
    walk.found
}

fn rule_violations(rules: &Validator, compiled: &CompiledSchema, value: &Value) -> Vec<Violation> {
    let Err(errors) = rules.validate_compiled(compiled, value, None) else { return Vec::new() };
    let violation = |error: kube::core::cel::ValidationError| Violation {
        path: error.field_path,
        message: match error.kind {
            ErrorKind::ValidationFailure => error.message,
            // A mistake of ours, not of the person's: say which rule, so that it can be reported.
            _ => format!("the rule {:?} cannot be evaluated: {}", error.rule, error.message),
        },
    };
    errors.into_vec().into_iter().map(violation).collect()
}

struct Walk<'a> {
    patterns: &'a mut HashMap<String, Option<Regex>>,
    found: Vec<Violation>,
}

impl Walk<'_> {
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.found.push(Violation { path: path.to_owned(), message: message.into() });
    }

    /// What the API server asks of every object's metadata.
    fn metadata(&mut self, metadata: &Value) {
        let name = metadata["name"].as_str().unwrap_or_default();
        if name.len() > 253 || !self.matches(DNS_SUBDOMAIN, name) {
            self.refuse("metadata.name", describe(DNS_SUBDOMAIN));
        }
        if let Some(namespace) = metadata["namespace"].as_str()
            && (namespace.len() > 63 || !self.matches(DNS_LABEL, namespace))
        {
            self.refuse("metadata.namespace", describe(DNS_LABEL));
        }
    }

    fn value(&mut self, schema: &Value, value: &Value, path: &str) {
        match value {
            Value::String(text) => self.string(schema, text, path),
            Value::Number(number) => self.number(schema, number.as_f64(), path),
            Value::Array(items) => self.list(schema, items, path),
            Value::Object(fields) => self.object(schema, fields, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn string(&mut self, schema: &Value, text: &str, path: &str) {
        let length = text.chars().count();
        if bound(schema, "minLength").is_some_and(|least| length < least) {
            self.refuse(path, "must not be empty");
        } else if let Some(most) = bound(schema, "maxLength").filter(|most| length > *most) {
            self.refuse(path, format!("has {length} characters, and may have {most}"));
        } else if let Some(pattern) = schema["pattern"].as_str()
            && !self.matches(pattern, text)
        {
            self.refuse(path, describe(pattern));
        }
    }

    fn number(&mut self, schema: &Value, number: Option<f64>, path: &str) {
        let Some(number) = number else { return };
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let message = match (least, most) {
                (Some(least), Some(most)) => format!("{number} is not between {least} and {most}"),
                (Some(least), None) => format!("{number} is below {least}"),
                (None, most) => format!("{number} is above {}", most.unwrap_or_default()),
            };
            self.refuse(path, message);
        }
    }

    fn list(&mut self, schema: &Value, items: &[Value], path: &str) {
        if let Some(least) = bound(schema, "minItems").filter(|least| items.len() < *least) {
            self.refuse(path, format!("has {} entries, and needs at least {least}", items.len()));
        }
        if let Some(most) = bound(schema, "maxItems").filter(|most| items.len() > *most) {
            self.refuse(path, format!("has {} entries, and may have {most}", items.len()));
        }
        self.duplicates(schema, items, path);
        for (index, item) in items.iter().enumerate() {
            self.value(&schema["items"], item, &format!("{path}[{index}]"));
        }
    }

    /// Entries of a set, or of a map by its keys, must differ.
    fn duplicates(&mut self, schema: &Value, items: &[Value], path: &str) {
        let keys: Option<Vec<&str>> = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => None,
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array();
                Some(keys.into_iter().flatten().filter_map(Value::as_str).collect())
            }
            _ => return,
        };
        let same = |left: &Value, right: &Value| match &keys {
            None => left == right,
            Some(keys) => keys.iter().all(|key| left[key] == right[key]),
        };
        for (index, item) in items.iter().enumerate() {
            if let Some(first) = items[..index].iter().position(|earlier| same(earlier, item)) {
                let what = keys.as_ref().map_or_else(String::new, |keys| format!(" {}", keys.join(" and ")));
                self.refuse(
                    &format!("{path}[{index}]"),
                    format!("has the same{what} as entry {first}: change or remove one"),
                );
            }
        }
    }

    fn object(&mut self, schema: &Value, fields: &serde_json::Map<String, Value>, path: &str) {
        if let Some(most) = bound(schema, "maxProperties").filter(|most| fields.len() > *most) {
            self.refuse(path, format!("has {} entries, and may have {most}", fields.len()));
        }
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let declared = &schema["properties"][name];
            self.value(if declared.is_null() { &schema["additionalProperties"] } else { declared }, value, &path);
        }
    }

    fn matches(&mut self, pattern: &str, text: &str) -> bool {
        let compiled = self.patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
        compiled.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

fn bound(schema: &Value, name: &str) -> Option<usize> {
    schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::cel::estimate_rule_cost;

    #[test]
    fn every_rule_compiles_and_is_cheap_enough() {
        for definition in crd::all() {
            let schema = crd::schema(&definition);
            let compiled = compile_schema(&schema);
            let mut nodes = vec![&compiled];
            let mut rules = 0;
            while let Some(node) = nodes.pop() {
                rules += node.validations.len();
                let errors: Vec<String> = node.compilation_errors().iter().map(ToString::to_string).collect();
                assert!(errors.is_empty(), "{}: {errors:?}", definition.spec.names.kind);
                for rule in node.validations.iter().flatten() {
                    let warnings = estimate_rule_cost(&rule.rule.rule, node);
                    assert!(warnings.is_empty(), "{}: {warnings:?}", definition.spec.names.kind);
                }
                nodes.extend(node.properties.values().chain(node.items.as_deref()));
            }
            assert!(rules > 0, "{} has no rule", definition.spec.names.kind);
        }
    }

    #[test]
    fn every_pattern_is_one_and_has_words() {
        let mut schemas: Vec<Value> = crd::all().iter().map(crd::schema).collect();
        let mut count = 0;
        while let Some(schema) = schemas.pop() {
            let Some(object) = schema.as_object() else { continue };
            if let Some(pattern) = object.get("pattern").and_then(Value::as_str) {
                assert!(Regex::new(pattern).is_ok(), "{pattern}");
                // Nobody writes the reason of a condition by hand.
                assert!(describe(pattern).starts_with("must be") || pattern.contains(",:"), "no words for {pattern}");
                count += 1;
            }
            schemas.extend(object.values().filter(|value| value.is_object()).cloned());
        }
        assert!(count > 20, "{count}");
    }
}
