//! Every bound of a schema: objects that just hold it, and objects that just break it.

use serde_json::{Map, Value};

/// A text that no pattern takes: nearly all of them are about ASCII, and those of paths about slashes.
const NO_MATCH: &str = "é//";

/// What is to be said about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing about the field, which is at its bound. Rules further up may refuse the object.
    FieldHolds,
    /// A refusal that names the field.
    FieldRefused,
    /// Whatever it is.
    Agreement,
}

/// An object with one field changed.
pub struct Variant {
    pub field: String,
    /// What was done to the field.
    pub change: String,
    pub object: Value,
    pub expected: Expected,
}

/// Where a schema stands in a definition.
#[derive(Clone)]
enum Step {
    Field(String),
    /// The items of a list.
    Items,
    /// The values of a map.
    Values,
}

/// A value in an object: as a JSON pointer, and as people write it.
#[derive(Clone, Default)]
struct Place {
    pointer: String,
    field: String,
}

/// One or more variants for every bound of `schema`. `objects` are good ones; every field must be in one of them.
pub fn variants(schema: &Value, objects: &[Value]) -> Vec<Variant> {
    let mut walk = Walk { objects, found: Vec::new(), missing: Vec::new() };
    walk.visit(&schema["properties"]["spec"], &[Step::Field("spec".to_owned())]);
    assert!(walk.missing.is_empty(), "no accepted row has {}", walk.missing.join(", "));
    walk.found
}

struct Walk<'a> {
    objects: &'a [Value],
    found: Vec<Variant>,
    /// Fields that no object has.
    missing: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, schema: &Value, path: &[Step]) {
        let located = self.objects.iter().find_map(|object| Some((object, locate(object, path)?)));
        let Some((object, place)) = located else {
            self.missing.push(written(path));
            return;
        };
        Bounds { schema, object, place, found: &mut self.found }.all();
        // What such a field may hold is Kubernetes' matter.
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            return;
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            self.visit(below, &[path, &[Step::Field(name.clone())]].concat());
        }
        for (step, below) in [(Step::Items, &schema["items"]), (Step::Values, &schema["additionalProperties"])] {
            if below.is_object() {
                self.visit(below, &[path, &[step]].concat());
            }
        }
    }
}

struct Bounds<'a> {
    schema: &'a Value,
    object: &'a Value,
    place: Place,
    found: &'a mut Vec<Variant>,
}

impl Bounds<'_> {
    fn all(&mut self) {
        self.put("null", Value::Null, Expected::Agreement);
        match self.schema["type"].as_str() {
            Some("string") => self.string(),
            Some("integer") => self.integer(),
            Some("boolean") => self.put("text", "true".into(), Expected::FieldRefused),
            Some("array") => self.list(),
            Some("object") => self.map(),
            None if self.schema["x-kubernetes-int-or-string"] == true => self.number_or_text(),
            other => panic!("{}: of type {other:?}", self.place.field),
        }
    }

    fn string(&mut self) {
        self.put("a number", 1.into(), Expected::FieldRefused);
        if self.schema["enum"].is_array() {
            self.put("another word", "Nonesuch".into(), Expected::FieldRefused);
            return;
        }
        if self.schema["minLength"].is_u64() {
            self.put("empty", "".into(), Expected::FieldRefused);
        }
        if self.schema["pattern"].is_string() {
            self.put("no match", NO_MATCH.into(), Expected::FieldRefused);
        }
        // Regular expressions of Go and of Rust differ in which of these are spaces.
        for space in ["\u{b}", "\u{a0}", "\u{2028}"] {
            let text = format!("{}{space}", self.value().as_str().unwrap());
            self.put(&format!("{space:?} at its end"), text.into(), Expected::Agreement);
        }
        let most = self.bound("maxLength").unwrap_or_else(|| panic!("{} has no bound", self.place.field));
        let text = self.value().as_str().unwrap();
        let long = |length: usize| {
            // The longest duration there is; others go on as they begin.
            let is_duration = self.schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms"));
            let text = if is_duration { "99999ms".repeat(4) } else { text.to_owned() };
            // So that a number goes on as one.
            let more = if text.ends_with(|last: char| last.is_ascii_digit()) { "0" } else { "a" };
            text.clone() + &more.repeat(length - text.len())
        };
        let (longest, longer) = (long(most), long(most + 1));
        self.put(&format!("{most} characters"), longest.into(), Expected::FieldHolds);
        self.put(&format!("{} characters", most + 1), longer.into(), Expected::FieldRefused);
    }

    fn number_or_text(&mut self) {
        self.put("a number", 1.into(), Expected::FieldHolds);
        self.put("neither", true.into(), Expected::Agreement);
        if self.schema["pattern"].is_string() {
            self.put("no match", NO_MATCH.into(), Expected::FieldRefused);
        }
        let most = self.bound("maxLength").unwrap_or_else(|| panic!("{} has no bound", self.place.field));
        self.put(&format!("{most} characters"), "1".repeat(most).into(), Expected::FieldHolds);
        self.put(&format!("{} characters", most + 1), "1".repeat(most + 1).into(), Expected::FieldRefused);
    }

    fn integer(&mut self) {
        self.put("text", "x".into(), Expected::FieldRefused);
        self.put("a fraction", 1.5.into(), Expected::FieldRefused);
        for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
            // Only what counts bytes or connections has no upper one.
            let Some(bound) = self.schema[bound].as_f64() else { panic!("{} has no {bound}", self.place.field) };
            #[allow(clippy::cast_possible_truncation)] // whole and small
            let bound = bound as i64;
            self.put(&bound.to_string(), bound.into(), Expected::FieldHolds);
            self.put(&(bound + beyond).to_string(), (bound + beyond).into(), Expected::FieldRefused);
        }
    }

    fn list(&mut self) {
        self.put("text", "x".into(), Expected::FieldRefused);
        if let Some(least) = self.bound("minItems") {
            self.put_entries(least - 1, Expected::FieldRefused);
            self.put_entries(least, Expected::FieldHolds);
        }
        let most = self.bound("maxItems").unwrap_or_else(|| panic!("{} has no bound", self.place.field));
        self.put_entries(most, Expected::FieldHolds);
        self.put_entries(most + 1, Expected::FieldRefused);
        self.put_twice();
    }

    fn put_twice(&mut self) {
        if self.schema["x-kubernetes-list-type"] == "atomic" {
            return;
        }
        let mut entries = self.value().as_array().unwrap().clone();
        entries.insert(1, entries[0].clone());
        let whole = self.place.clone();
        self.place.field = format!("{}[1]", whole.field);
        self.put("an entry twice", entries.into(), Expected::FieldRefused);
        self.place = whole;
    }

    fn put_entries(&mut self, count: usize, expected: Expected) {
        let first = &self.value()[0];
        let words = self.schema["items"]["enum"].as_array();
        let entry = |index: usize| match words {
            // There are not as many words as entries: the same one more than once is refused where it stands.
            Some(words) => words[index % words.len()].clone(),
            None => entry(first, index),
        };
        let entries: Vec<Value> = (0..count).map(entry).collect();
        self.put(&format!("{count} entries"), entries.into(), expected);
    }

    fn map(&mut self) {
        self.put("text", "x".into(), Expected::FieldRefused);
        for required in self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut fields = self.value().as_object().unwrap().clone();
            fields.remove(required);
            let whole = self.place.clone();
            self.place.field = format!("{}.{required}", whole.field);
            self.put("absent", fields.into(), Expected::FieldRefused);
            self.place = whole;
        }
        if self.schema["additionalProperties"].is_object() {
            let most = self.bound("maxProperties").unwrap_or_else(|| panic!("{} has no bound", self.place.field));
            for (count, expected) in [(most, Expected::FieldHolds), (most + 1, Expected::FieldRefused)] {
                let fields: Map<String, Value> = (0..count).map(|index| (letters(index), "a".into())).collect();
                self.put(&format!("{count} entries"), fields.into(), expected);
            }
        }
    }

    fn bound(&self, name: &str) -> Option<usize> {
        self.schema[name].as_u64().map(|bound| usize::try_from(bound).unwrap())
    }

    fn value(&self) -> &Value {
        self.object.pointer(&self.place.pointer).unwrap()
    }

    fn put(&mut self, change: &str, value: Value, expected: Expected) {
        let mut object = self.object.clone();
        *object.pointer_mut(&self.place.pointer).unwrap() = value;
        self.found.push(Variant { field: self.place.field.clone(), change: change.to_owned(), object, expected });
    }
}

/// An entry like `first` that differs from it in what lists tell entries apart by.
fn entry(first: &Value, index: usize) -> Value {
    match first {
        Value::String(_) => letters(index).into(),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            for key in ["name", "key"] {
                if let Some(name) = fields.get_mut(key) {
                    *name = letters(index).into();
                }
            }
            fields.into()
        }
        other => other.clone(),
    }
}

/// A word of letters only, which every pattern of names takes.
fn letters(mut index: usize) -> String {
    let mut word = String::from("a");
    while index > 0 {
        word.push(char::from(b'a' + u8::try_from(index % 26).unwrap()));
        index /= 26;
    }
    word
}

/// The first value in `object` that a schema is for.
fn locate(object: &Value, path: &[Step]) -> Option<Place> {
    let Some((step, rest)) = path.split_first() else { return Some(Place::default()) };
    let under = |value: &Value, name: &str, shown: String| {
        let below = locate(value, rest)?;
        let dot = if below.field.is_empty() || below.field.starts_with('[') { "" } else { "." };
        Some(Place {
            pointer: format!("/{}{}", name.replace('~', "~0").replace('/', "~1"), below.pointer),
            field: format!("{shown}{dot}{}", below.field),
        })
    };
    match step {
        Step::Field(name) => under(object.get(name)?, name, name.clone()),
        Step::Items => {
            let mut items = object.as_array()?.iter().enumerate();
            items.find_map(|(index, item)| under(item, &index.to_string(), format!("[{index}]")))
        }
        Step::Values => object.as_object()?.iter().find_map(|(name, value)| under(value, name, name.clone())),
    }
}

fn written(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Items => "[]".to_owned(),
        Step::Values => ".*".to_owned(),
    });
    steps.collect::<String>().trim_start_matches('.').to_owned()
}
