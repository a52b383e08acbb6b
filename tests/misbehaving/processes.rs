//! What runs beside this program, in the same pod.

use std::{fs, io};

use serde_json::{Value, json};

/// Every process that `/proc` shows, as a list of `{pid, name, state, descriptors}`; those that another user's process holds open
/// are not counted, nor those of a process that has just ended.
pub(crate) fn all() -> io::Result<String> {
    let mut found: Vec<Value> = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // `pid (name) state …`; the name may hold anything.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        let Some((name, rest)) = name else { continue };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).ok();
        found.push(json!({
            "pid": pid, "name": name, "state": rest.split_whitespace().next(), "descriptors": descriptors,
        }));
    }
    Ok(Value::from(found).to_string())
}
