//! Parts of a spec whose schema is left open, read as the Kubernetes types that they are, so that a mistake is told before any pod is
//! made.

use crate::translate::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is written at `field` with its type; `what` names the type for people. Refused is what cannot be read, and what would be
/// ignored.
pub(super) fn read<T: DeserializeOwned + Serialize>(written: &Value, field: &str, what: &str) -> Result<T, Problem> {
    let read: T = serde_path_to_error::deserialize(written)
        .map_err(|error| Problem::invalid(format!("{field}.{}: {}", error.path(), error.inner())))?;
    // What has no place in the type is lost in it, and so found missing.
    let understood = serde_json::to_value(&read).unwrap_or_default();
    lost(written, &understood, field, what).map_or(Ok(read), Err)
}

/// The first thing of `written` that is not in `understood`.
fn lost(written: &Value, understood: &Value, path: &str, what: &str) -> Option<Problem> {
    match written {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match understood.get(key) {
                Some(understood) => lost(value, understood, &path, what),
                None if value.is_null() => Some(Problem::invalid(format!(
                    "{path} is null, and nothing can be taken away by it; remove the field"
                ))),
                None => Some(Problem::invalid(format!("{path} is no field of {what}; correct its name or remove it"))),
            }
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let understood = understood.get(index).unwrap_or(&Value::Null);
            lost(item, understood, &format!("{path}[{index}]"), what)
        }),
        _ => None,
    }
}
