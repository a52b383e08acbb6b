//! Reading cases and writing plans.

mod generate;

use generate::Generate;
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::translate::facts::{Facts, Mode};
use mcp_gateway_operator::translate::manifests::{Manifest, documents, parse};
use mcp_gateway_operator::translate::{Inputs, translate};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the cases are.
pub(crate) const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// Longer texts stand in a golden plan by their length only, in bytes.
const LONGEST_TEXT: usize = 2048;

/// One case.
pub(crate) struct Case {
    pub(crate) directory: PathBuf,
}

/// What a world has besides our objects.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Surroundings {
    pub(crate) mode: Mode,
    pub(crate) facts: Facts,
    pub(crate) unreadable_policies: BTreeMap<ObjectId, String>,
    /// Objects too large to write down.
    generate: Generate,
}

/// All cases, by name.
pub(crate) fn cases() -> Vec<Case> {
    let entries = std::fs::read_dir(DIRECTORY).unwrap().map(|entry| entry.unwrap().path());
    let mut directories: Vec<PathBuf> = entries.filter(|path| path.join("in.yaml").exists()).collect();
    directories.sort();
    directories.into_iter().map(|directory| Case { directory }).collect()
}

impl Case {
    pub(crate) fn name(&self) -> String {
        self.directory.file_name().unwrap().to_string_lossy().into_owned()
    }

    pub(crate) fn input(&self) -> String {
        std::fs::read_to_string(self.directory.join("in.yaml")).unwrap()
    }

    /// The golden plan; empty when there is none yet.
    pub(crate) fn golden(&self) -> String {
        std::fs::read_to_string(self.directory.join("out.yaml")).unwrap_or_default()
    }

    /// The objects of the case in the order of the file, and what surrounds them.
    pub(crate) fn read(&self) -> (Vec<Manifest>, Surroundings) {
        let file = format!("{}/in.yaml", self.name());
        let input = self.input();
        let mut surroundings = Surroundings::default();
        let mut manifests = Vec::new();
        for document in documents(&input) {
            if document.text.lines().any(|line| line.starts_with("apiVersion:")) {
                let (read, errors) = parse(&file, document.text);
                assert!(errors.is_empty(), "{file}, document at line {}: {}", document.line, errors[0]);
                manifests.extend(read);
            } else {
                surroundings = serde_saphyr::from_str(document.text).unwrap_or_else(|error| panic!("{file}: {error}"));
            }
        }
        manifests.extend(surroundings.generate.manifests());
        (manifests, surroundings)
    }

    pub(crate) fn inputs(&self) -> Inputs {
        let (manifests, surroundings) = self.read();
        surroundings.with(manifests)
    }

    pub(crate) fn plan_as_yaml(&self) -> String {
        let mut plan = serde_json::to_value(translate(&self.inputs())).unwrap();
        shorten(&mut plan);
        serde_saphyr::to_string(&plan).unwrap()
    }
}

impl Surroundings {
    /// The world of these objects, added in this order.
    pub(crate) fn with(&self, manifests: Vec<Manifest>) -> Inputs {
        let mut inputs = Inputs {
            mode: self.mode.clone(),
            facts: self.facts.clone(),
            unreadable_policies: self.unreadable_policies.clone(),
            ..Inputs::default()
        };
        for manifest in manifests {
            inputs.insert(manifest).unwrap();
        }
        inputs
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => *text = format!("({} bytes)", text.len()),
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}
