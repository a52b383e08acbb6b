//! Volumes of a backend's pods and where they are mounted: nothing that reaches the node, and nothing in the way of what the operator
//! mounts itself.

use super::{security, typed};
use crate::api::conditions::Reason;
use crate::api::pod;
use crate::translate::naming::{HOME_DIR, OWN_VOLUMES, SHIM_DIR, TMP_DIR, TOKEN_DIR};
use crate::translate::problem::Problem;
use k8s_openapi::api::core::v1::{Volume, VolumeMount};
use serde_json::Value;

/// What the operator mounts and a server cannot do without.
const FIXED: [&str; 2] = [SHIM_DIR, TOKEN_DIR];

/// What the operator mounts where nobody else mounts anything.
const GIVES_WAY: [&str; 2] = [HOME_DIR, TMP_DIR];

/// The pods in which volumes are mounted.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Where in the spec the volumes stand.
    pub(super) field: &'a str,
    /// Whether the operator has volumes of its own there.
    pub(super) has_shim: bool,
}

/// The volumes with their types, or the first that cannot be.
pub(super) fn volumes(place: Place<'_>, written: &[pod::Volume]) -> Result<Vec<Volume>, Problem> {
    let mut volumes: Vec<Volume> = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let field = format!("{}.volumes[{index}]", place.field);
        let volume: Volume = typed::read(&Value::Object(written.0.clone()), &field, "a volume")?;
        security::check_volume(&volume, &field)?;
        let name = &volume.name;
        if place.has_shim && OWN_VOLUMES.contains(&name.as_str()) {
            return Err(unsupported(format!(
                "{field}.name: {name} is a volume of the operator's own; choose another name"
            )));
        }
        if volumes.iter().any(|other| other.name == *name) {
            return Err(Problem::invalid(format!("{field}.name: there are two volumes {name}; rename or remove one")));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

/// Where they are mounted, or the first that cannot be.
pub(super) fn mounts(
    place: Place<'_>,
    written: &[pod::VolumeMount],
    volumes: &[Volume],
) -> Result<Vec<VolumeMount>, Problem> {
    let mut mounts: Vec<VolumeMount> = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let field = format!("{}.volumeMounts[{index}]", place.field);
        let pod::VolumeMount { name, mount_path: path, sub_path, read_only } = written;
        if !volumes.iter().any(|volume| volume.name == *name) {
            let message = format!("{field}.name: there is no volume {name}; add it to {}.volumes", place.field);
            return Err(Problem::invalid(message));
        }
        if let Some(problem) = misplaced(place, path) {
            return Err(unsupported(format!("{field}.mountPath: {path} {problem}")));
        }
        if mounts.iter().any(|other| other.mount_path == *path) {
            let message =
                format!("{field}.mountPath: something else is mounted at {path}; mount one of them elsewhere");
            return Err(Problem::invalid(message));
        }
        if sub_path.as_deref().is_some_and(|path| !is_plain(path)) {
            let message = format!("{field}.subPath must be a relative path without '.' and '..'; write it out");
            return Err(Problem::invalid(message));
        }
        mounts.push(VolumeMount {
            name: name.clone(),
            mount_path: path.clone(),
            sub_path: sub_path.clone(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        });
    }
    Ok(mounts)
}

fn unsupported(message: String) -> Problem {
    Problem::new(Reason::UnsupportedValue, message)
}

/// Why nothing can be mounted at a path.
fn misplaced(place: Place<'_>, path: &str) -> Option<String> {
    if !path.strip_prefix('/').is_some_and(is_plain) || path.contains(':') {
        return Some("is no absolute path without ':', '.' and '..'; write it out".to_owned());
    }
    if !place.has_shim {
        return None;
    }
    if let Some(own) = FIXED.into_iter().find(|own| lies_in(path, own) || lies_in(own, path)) {
        return Some(format!("is in the way of {own}, which the operator mounts; choose another directory"));
    }
    let above = GIVES_WAY.into_iter().find(|own| *own != path && lies_in(own, path))?;
    Some(format!("is above {above}, which the operator mounts; mount the volume there, or in a directory of its own"))
}

/// Whether every part of a path is a name.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn lies_in(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(has_shim: bool, path: &str) -> Option<String> {
        misplaced(Place { field: "spec.stdio", has_shim }, path)
    }

    #[test]
    fn what_the_operator_mounts_stays_in_sight() {
        for path in
            ["/data", "/home/mcp", "/home/mcp/.cache", "/home/me", "/tmp", "/tmp/a", "/shimmer", "/var/lib", "/opt/a.b"]
        {
            assert_eq!(problem(true, path), None, "{path}");
        }
        for path in ["/shim", "/shim/a", "/var", "/var/run", "/var/run/mcp/token", "/var/run/mcp/token/token"] {
            assert!(problem(true, path).is_some_and(|told| told.starts_with("is in the way of")), "{path}");
            assert_eq!(problem(false, path), None, "{path}: there is no shim");
        }
        assert!(problem(true, "/home").is_some_and(|told| told.starts_with("is above /home/mcp")));
        for path in ["", "/", "data", "/a//b", "/a/", "/a/../b", "/a/.", "/a:b"] {
            assert!(problem(false, path).is_some_and(|told| told.starts_with("is no absolute path")), "{path}");
        }
    }
}
