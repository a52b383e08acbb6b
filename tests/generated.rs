//! The files that are generated from code are fresh, and the definitions among them are what an API server takes.
//!
//! `UPDATE_GENERATED=1 cargo test --test generated` rewrites the files.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "operator")]
#[path = "generated/chart.rs"]
mod chart;
#[cfg(feature = "operator")]
#[path = "generated/chart_values.rs"]
mod chart_values;

use mcp_gateway_operator::api::crd;
use mcp_gateway_operator::cli::crds;
use serde_json::Value;

/// The most that `kubectl apply` can carry in its annotation, less its JSON's quotes: 256 KiB is the hard limit.
const MAX_CRD_BYTES: usize = 200 * 1000;

/// Where the definitions are: for people, and once more for the chart, which Helm lets read its own files only.
const DEFINITIONS: [&str; 2] = ["crds", "charts/mcp-gateway-operator/files/crds"];

#[test]
fn the_definitions_on_disk_are_fresh() {
    let files = crds::files().unwrap();
    let mut expected: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    expected.sort_unstable();
    for directory in DEFINITIONS {
        for file in &files {
            fresh(&format!("{directory}/{}", file.name), &file.text);
        }
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{directory} holds the generated files and no other");
    }
}

/// Fails unless a file has this text; writes it first where that is asked for.
fn fresh(path: &str, text: &str) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let on_disk = std::fs::read_to_string(path).unwrap_or_default();
    assert!(on_disk == text, "{path} is stale: run `make generate`");
}

#[test]
fn each_definition_fits_client_side_apply() {
    for file in crds::files().unwrap() {
        assert!(file.text.len() < MAX_CRD_BYTES, "{} has {} bytes", file.name, file.text.len());
    }
}

#[test]
fn a_definition_reads_back_as_it_was_written() {
    for (file, definition) in crds::files().unwrap().iter().zip(crd::all()) {
        let read: Value = serde_saphyr::from_str(&file.text).unwrap();
        let written = serde_json::to_value(definition).unwrap();
        assert!(same(&read, &written), "{}", file.name);
    }
}

/// Equality that takes `1` for `1.0`.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

#[test]
fn every_string_list_and_map_has_a_maximum() {
    let mut seen = 0;
    each_schema(|path, schema| {
        seen += 1;
        let bounded = |bound: &str| assert!(schema.get(bound).is_some(), "{path} has no {bound}");
        match schema["type"].as_str() {
            Some("string") if schema.get("enum").is_none() && schema["format"] != "date-time" => bounded("maxLength"),
            Some("array") => bounded("maxItems"),
            Some("object") if schema.get("additionalProperties").is_some() => bounded("maxProperties"),
            Some("integer") if path.contains(".spec") => {
                bounded("minimum");
                bounded("maximum");
            }
            _ => {}
        }
    });
    assert!(seen > 150, "only {seen} schemas were looked at");
}

#[test]
fn every_field_is_described() {
    each_schema(|path, schema| {
        let names_a_field = !path.ends_with("[]") && !path.ends_with("{}");
        if names_a_field {
            let description = schema["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{path} has no description");
            assert!(description.ends_with(['.', '?']), "{path}: {description:?} is no sentence");
        }
    });
}

#[test]
fn every_list_says_how_it_merges() {
    each_schema(|path, schema| {
        if schema["type"] == "array" {
            assert!(schema.get("x-kubernetes-list-type").is_some(), "{path} has no merge strategy");
        }
        // The API server wants the keys of a map list to be there always.
        for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let items = &schema["items"];
            let required = items["required"].as_array().is_some_and(|required| required.iter().any(|name| name == key));
            assert!(required || items["properties"][key].get("default").is_some(), "{path}: {key} may be absent");
        }
    });
}

#[test]
fn every_rule_has_a_message_that_names_a_field() {
    let mut rules = 0;
    each_schema(|path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(message.len() > 30, "{path}: {rule}");
            assert!(!message.contains('\n') && !message.ends_with('.'), "{path}: {message}");
            // A field is a word with a dot in it or one of camel case; the way out follows a colon or a semicolon.
            assert!(message.contains("spec") || message.contains('.') || message.contains("[]"), "{path}: {message}");
            rules += 1;
        }
    });
    assert!(rules >= 25, "only {rules} rules were looked at");
}

/// CEL reserves words that are fine names of fields; a rule must write such a field as `__name__`, and the API server
/// refuses a definition that does not.
#[test]
fn no_rule_names_a_field_by_a_reserved_word() {
    let reserved = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    each_schema(|path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let rule = rule["rule"].as_str().unwrap();
            for word in rule.split('.').skip(1).map(|rest| rest.split(|letter: char| !letter.is_alphanumeric()).next())
            {
                assert!(word.is_none_or(|word| !reserved.contains(&word)), "{path}: {word:?} in {rule}");
            }
        }
    });
}

#[test]
fn schemas_are_structural() {
    each_schema(|path, schema| {
        for keyword in ["oneOf", "anyOf", "allOf", "not", "nullable", "$ref"] {
            assert!(schema.get(keyword).is_none(), "{path} has {keyword}");
        }
        let is_either = schema["x-kubernetes-int-or-string"] == true;
        assert!(schema.get("type").is_some() != is_either, "{path} has no type, or one too many");
        let format = schema["format"].as_str();
        assert!(matches!(format, None | Some("date-time" | "int32" | "int64")), "{path} has format {format:?}");
    });
}

/// Shows every schema of every definition to `visit`, with its path.
fn each_schema(mut visit: impl FnMut(&str, &Value)) {
    for definition in crd::all() {
        let kind = definition.spec.names.kind.clone();
        walk(&kind, &crd::schema(&definition), &mut visit);
    }
}

fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(keyword) {
            walk(&format!("{path}{suffix}"), inner, visit);
        }
    }
}
