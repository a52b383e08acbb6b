//! The part of `lint` that looks at objects together. What only a cluster knows (Secrets, Services, pods) is not asked.

use super::lint::{Finding, Severity};
use crate::translate::manifests::{Manifest, ManifestError};
use crate::translate::{InputError, Inputs};

/// What is wrong between objects.
pub(super) fn findings(manifests: Vec<Manifest>) -> Vec<Finding> {
    let mut inputs = Inputs::default();
    manifests.into_iter().filter_map(|manifest| inputs.insert(manifest).err()).map(twice).collect()
}

fn twice(error: InputError) -> Finding {
    let (file, line) = match &error {
        InputError::Duplicate { file, line, .. } => (file.clone(), *line),
        InputError::UnknownBackend(_) => (String::new(), 0),
    };
    let message = match error {
        InputError::Duplicate { kind, id, .. } => format!("{kind} {id} is defined twice: rename or remove one"),
        error @ InputError::UnknownBackend(_) => error.to_string(),
    };
    let mistake = ManifestError { file, line, column: 0, field: "metadata.name".to_owned(), message };
    Finding { severity: Severity::Error, mistake }
}
