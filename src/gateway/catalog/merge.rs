//! One server out of many: capabilities and instructions.

use crate::gateway::mcp::json::{Object, Value};
use crate::gateway::mcp::splice::push_json_string;
use std::borrow::Cow;

/// The union of several JSON objects. Objects are merged member by member, `true` wins over `false`, and of other values
/// the first stays. What only one of them has stays as it was written.
pub fn merge_objects(objects: &[Object<'_>]) -> String {
    if let [only] = objects {
        return only.text().to_owned();
    }
    let mut members: Vec<(Cow<'_, str>, Vec<Value<'_>>)> = Vec::new();
    for entry in objects.iter().flat_map(Object::entries) {
        let Some(key) = entry.key else { continue };
        match members.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(entry.value),
            None => members.push((key, vec![entry.value])),
        }
    }
    let mut out = String::from("{");
    for (index, (key, values)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_json_string(&mut out, key);
        out.push(':');
        out.push_str(&merge_values(values));
    }
    out.push('}');
    out
}

fn merge_values(values: &[Value<'_>]) -> Cow<'static, str> {
    let objects: Vec<_> = values.iter().filter_map(Value::as_object).collect();
    if objects.len() == values.len() {
        return merge_objects(&objects).into();
    }
    if values.iter().any(|value| value.as_bool() == Some(true)) {
        return "true".into();
    }
    values.first().map_or(Cow::Borrowed("null"), |value| Cow::Owned(value.text().to_owned()))
}

/// What to tell a model about using several servers: each one's own words under a line with its name.
pub fn merge_instructions<'a>(servers: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Option<String> {
    let servers: Vec<_> = servers.collect();
    if let [(_, instructions)] = servers[..] {
        return instructions.map(str::to_owned);
    }
    let parts: Vec<_> = servers
        .into_iter()
        .filter_map(|(name, instructions)| Some((name, instructions?)))
        .map(|(name, instructions)| format!("# {name}\n\n{}", instructions.trim_end()))
        .collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merge(texts: &[&str]) -> String {
        merge_objects(&texts.iter().map(|text| Object::parse(text.as_bytes()).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn capabilities_are_united() {
        let merged = merge(&[
            r#"{"tools":{"listChanged":false},"extensions":{"a/x":{"v":1.0}},"logging":{}}"#,
            r#"{"tools":{"listChanged":true},"prompts":{},"extensions":{"a/x":{"v":2},"b/y":{ "raw" : 1e3 }},"odd":7}"#,
            r#"{"odd":[],"resources":{"subscribe":true}}"#,
        ]);
        let expected = json!({
            "tools": {"listChanged": true}, "extensions": {"a/x": {"v": 1.0}, "b/y": {"raw": 1e3}}, "logging": {},
            "prompts": {}, "odd": 7, "resources": {"subscribe": true},
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&merged).unwrap(), expected);
        assert!(merged.contains(r#""b/y":{ "raw" : 1e3 }"#), "kept as written: {merged}");
        assert_eq!(merge(&[r#"{ "x" : 1.0 }"#]), r#"{ "x" : 1.0 }"#);
        assert_eq!(merge(&[]), "{}");
    }

    #[test]
    fn instructions_name_their_server_when_there_are_several() {
        let merge = |servers: &[(&'static str, Option<&'static str>)]| merge_instructions(servers.iter().copied());
        assert_eq!(merge(&[("a", Some("do\n"))]).as_deref(), Some("do\n"));
        assert_eq!(merge(&[("a", None)]), None);
        assert_eq!(merge(&[("a", None), ("b", None)]), None);
        assert_eq!(
            merge(&[("a", Some("x\n")), ("b", None), ("c", Some("y"))]).as_deref(),
            Some("# a\n\nx\n\n# c\n\ny")
        );
    }
}
