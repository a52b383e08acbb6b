//! The chart's values, in three forms of one source, and what else of the chart is a copy.

use super::chart_values::Values;
use super::fresh;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::fmt::Write as _;

const CHART: &str = "charts/mcp-gateway-operator";

/// Where the table of the README begins and ends.
const TABLE: [&str; 2] = ["<!-- generated: values -->\n", "<!-- end -->\n"];

/// The longest line of `values.yaml`.
const WIDTH: usize = 120;

#[test]
fn the_schema_of_the_values_is_fresh() {
    let schema = serde_json::to_string_pretty(&schema()).unwrap();
    fresh(&format!("{CHART}/values.schema.json"), &format!("{schema}\n"));
}

#[test]
fn the_values_are_fresh() {
    let mut text = "# Generated from tests/generated/chart_values.rs: edit that and run `make generate`.\n".to_owned();
    each_value(&schema(), &mut |value| value.as_yaml(&mut text));
    fresh(&format!("{CHART}/values.yaml"), &text);
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(read, serde_json::to_value(Values::default()).unwrap());
}

#[test]
fn the_table_of_the_values_is_fresh() {
    let path = format!("{CHART}/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(TABLE[0]).unwrap();
    let (_, after) = rest.split_once(TABLE[1]).unwrap();
    let mut table = "| value | what it is | default |\n|---|---|---|\n".to_owned();
    each_value(&schema(), &mut |value| value.as_row(&mut table));
    fresh(&path, &[before, TABLE[0], &table, TABLE[1], after].concat());
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let text = std::fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field} in Chart.yaml");
    }
}

#[test]
fn every_value_is_described_and_closed() {
    let mut seen = 0;
    each_value(&schema(), &mut |value| {
        seen += 1;
        let path = value.path.join(".");
        if value.is_leaf() {
            assert!(value.description().ends_with('.'), "{path}: {:?} is no sentence", value.description());
            assert!(value.schema.get("default").is_some(), "{path} has no default");
        }
    });
    assert!(seen > 50, "only {seen} values were looked at");
    each_object(&schema(), &mut |schema| {
        assert!(schema.get("additionalProperties").is_some(), "takes anything: {schema}");
    });
}

/// The schema, in the draft that every Helm 3 understands, without references, so that an error names the value and no more.
fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Values>().to_value();
    close(&mut schema);
    schema
}

/// Takes no property that is not named, and says no default twice.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            if keywords.get("properties").is_some_and(Value::is_object)
                && keywords.get("type") == Some(&json!("object"))
            {
                keywords.entry("additionalProperties").or_insert(json!(false));
                // What a group holds says its own; a value that is a map of Kubernetes' is none by default.
                if keywords.get("default").is_some_and(|default| *default != json!({})) {
                    keywords.remove("default");
                }
            }
            if let Some(Value::String(description)) = keywords.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            keywords.values_mut().for_each(close);
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        _ => {}
    }
}

/// A value, or a group of them.
struct Entry<'a> {
    path: Vec<&'a str>,
    schema: &'a Value,
}

impl Entry<'_> {
    fn is_leaf(&self) -> bool {
        self.schema.get("properties").is_none() || self.schema.get("default").is_some()
    }

    fn description(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }

    fn as_yaml(&self, text: &mut String) {
        let indent = "  ".repeat(self.path.len() - 1);
        if self.path.len() == 1 {
            text.push('\n');
        }
        let mut line = format!("{indent}#");
        for word in self.description().split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                writeln!(text, "{line}").unwrap();
                line = format!("{indent}#");
            }
            write!(line, " {word}").unwrap();
        }
        if !self.description().is_empty() {
            writeln!(text, "{line}").unwrap();
        }
        let name = self.path.last().unwrap();
        if !self.is_leaf() {
            writeln!(text, "{indent}{name}:").unwrap();
            return;
        }
        let default = serde_saphyr::to_string(&json!({*name: self.schema["default"]})).unwrap();
        default.lines().for_each(|line| writeln!(text, "{indent}{line}").unwrap());
    }

    fn as_row(&self, table: &mut String) {
        if self.is_leaf() {
            let (path, default) = (self.path.join("."), &self.schema["default"]);
            writeln!(table, "| `{path}` | {} | `{default}` |", self.description()).unwrap();
        }
    }
}

/// Shows each value and each group of values, in their order.
fn each_value<'a>(schema: &'a Value, visit: &mut impl FnMut(&Entry<'a>)) {
    fn walk<'a>(path: &[&'a str], schema: &'a Value, visit: &mut impl FnMut(&Entry<'a>)) {
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let entry = Entry { path: [path, &[name.as_str()]].concat(), schema };
            visit(&entry);
            if !entry.is_leaf() {
                walk(&entry.path, schema, visit);
            }
        }
    }
    walk(&[], schema, visit);
}

/// Shows each schema of an object, wherever it is.
fn each_object(schema: &Value, visit: &mut impl FnMut(&Value)) {
    match schema {
        Value::Object(keywords) => {
            if keywords.get("type") == Some(&json!("object")) {
                visit(schema);
            }
            keywords.values().for_each(|schema| each_object(schema, visit));
        }
        Value::Array(schemas) => schemas.iter().for_each(|schema| each_object(schema, visit)),
        _ => {}
    }
}
