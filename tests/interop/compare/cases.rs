//! Subjects and cases: which servers are compared, and by which calls.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{blur::Blur, record::Record};

/// A kind of text that may differ, and why.
pub(crate) type Volatile = (Blur, &'static str);

/// A server that is compared with itself behind the gateway.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// What may differ in every one of its cases.
    pub(crate) volatile: &'static [Volatile],
    pub(crate) cases: Vec<Case>,
}

/// One request, and what is known about what comes back.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) label: String,
    pub(crate) method: &'static str,
    pub(crate) params: Value,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// How many requests and notifications of the server belong to this case, wherever they arrive.
    pub(crate) notifications: usize,
    pub(crate) volatile: &'static [Volatile],
    /// The gateway refuses this by itself, in its own words: only the code of the error is compared.
    pub(crate) code_only: bool,
}

impl Case {
    pub(crate) fn new(method: &'static str, params: Value) -> Self {
        let label = format!("{method} {params}");
        Self { label, method, params, headers: &[], notifications: 0, volatile: &[], code_only: false }
    }

    /// Something that no server offers.
    pub(crate) fn unknown(method: &'static str, params: Value) -> Self {
        Self { code_only: true, ..Self::new(method, params) }
    }

    pub(crate) fn tool(name: &str, arguments: Value) -> Self {
        Self::new("tools/call", json!({ "name": name, "arguments": arguments }))
    }

    pub(crate) fn prompt(name: &str, arguments: Value) -> Self {
        Self::new("prompts/get", json!({ "name": name, "arguments": arguments }))
    }

    pub(crate) fn read(uri: &str) -> Self {
        Self::new("resources/read", json!({ "uri": uri }))
    }

    pub(crate) fn complete(reference: Value, name: &str, typed: &str) -> Self {
        Self::new("completion/complete", json!({ "ref": reference, "argument": { "name": name, "value": typed } }))
    }

    pub(crate) fn meta(mut self, meta: Value) -> Self {
        self.params["_meta"] = meta;
        self.label.push_str(" with _meta");
        self
    }

    pub(crate) fn notifications(mut self, count: usize) -> Self {
        self.notifications = count;
        self
    }

    pub(crate) fn volatile(mut self, volatile: &'static [Volatile]) -> Self {
        self.volatile = volatile;
        self
    }

    pub(crate) fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }
}

/// Fails unless every offered tool, prompt and resource has a case. (A template has one if a case reads what it makes.)
pub(crate) fn assert_covered(subject: &Subject, direct: &Record) {
    let called: BTreeSet<(&str, &str)> = subject
        .cases
        .iter()
        .filter_map(|case| Some((case.method, case.params.get("name").or_else(|| case.params.get("uri"))?.as_str()?)))
        .collect();
    for ((list, items), (method, key)) in
        direct.offers.iter().zip([("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")])
    {
        for item in items {
            let item: Value = serde_json::from_str(item).unwrap();
            let name = item[key].as_str().unwrap();
            assert!(called.contains(&(method, name)), "{}: {list} offers {name}, and no case tries it", subject.name);
        }
    }
}
