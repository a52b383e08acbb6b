//! The state of everything, for programs: always whole.

use super::kinds::{Entry, Section};
use super::state::{Level, Problem};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

#[derive(Serialize)]
struct JsonEntry<'a> {
    namespace: &'a str,
    name: &'a str,
    generation: Option<i64>,
    state: Level,
    since: Option<Timestamp>,
    summary: &'a str,
    status: &'a Value,
}

#[derive(Serialize)]
struct JsonProblem<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    #[serde(flatten)]
    problem: &'a Problem,
}

/// `namespace` (null: all), a list for each kind, and `problems`.
pub(super) fn overview(sections: &[Section], namespace: Option<&str>) -> String {
    let mut whole = Map::new();
    whole.insert("namespace".to_owned(), json!(namespace));
    for section in sections {
        let entries: Vec<JsonEntry<'_>> = section.entries.iter().map(JsonEntry::from).collect();
        whole.insert(section.plural.to_owned(), json!(entries));
    }
    let problems: Vec<JsonProblem<'_>> = sections.iter().flat_map(problems).collect();
    whole.insert("problems".to_owned(), json!(problems));
    format!("{:#}\n", Value::Object(whole))
}

fn problems(section: &Section) -> impl Iterator<Item = JsonProblem<'_>> {
    section.entries.iter().flat_map(|entry| {
        entry.state.problems.iter().map(|problem| JsonProblem {
            kind: section.kind,
            namespace: &entry.id.namespace,
            name: &entry.id.name,
            problem,
        })
    })
}

impl<'a> From<&'a Entry> for JsonEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Entry { id, generation, state, cells: _, status } = entry;
        Self {
            namespace: &id.namespace,
            name: &id.name,
            generation: *generation,
            state: state.level,
            since: state.since,
            summary: &state.sentence,
            status,
        }
    }
}
