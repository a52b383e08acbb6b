//! Headers that mirror a tool's arguments, as its input schema asks for them with `x-mcp-header` (2026-07-28).
//!
//! Intermediaries route by these headers without reading the body, so a server compares them with the arguments, and a
//! client that calls on must write them.

use super::headers::{self, PARAM_PREFIX, encode_value};
use super::json::{Object, Value};
use crate::gateway::error::{GatewayError, Kind};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// The annotation's name in a schema.
const ANNOTATION: &str = "x-mcp-header";
/// How many headers one tool may ask for.
const MAX_HEADERS: usize = 64;

/// The headers that one tool asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamHeaders {
    params: Vec<ParamHeader>,
}

/// One header and the argument it mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    /// The header's full name.
    pub header: HeaderName,
    /// Property names from the arguments down to the value.
    pub path: Vec<Box<str>>,
}

/// Why a schema's annotations are not valid; clients leave such a tool out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnotation {
    /// It stands where it names no argument.
    #[error("x-mcp-header stands elsewhere than on a property reached by `properties` alone")]
    Misplaced,
    /// It is no header name.
    #[error("property {0}: x-mcp-header must be a string that can end a header's name")]
    NotAName(String),
    /// Two arguments want the same header.
    #[error("property {0}: another property has the same x-mcp-header")]
    Repeated(String),
    /// The argument's values cannot be a header's.
    #[error("property {0}: x-mcp-header needs type string, integer or boolean")]
    NotPrimitive(String),
    /// More than any honest tool has.
    #[error("more than {MAX_HEADERS} x-mcp-header annotations")]
    TooMany,
}

impl ParamHeaders {
    /// Reads a tool's `inputSchema`.
    pub fn from_schema(schema: &Object<'_>) -> Result<Self, InvalidAnnotation> {
        // Nearly no schema has any, and looking for the word is cheaper than walking the schema.
        if memchr::memmem::find(schema.text().as_bytes(), ANNOTATION.as_bytes()).is_none() {
            return Ok(Self::default());
        }
        let mut found = Self::default();
        let mut path = Vec::new();
        found.collect(schema, &mut path)?;
        if has_misplaced(schema, Place::Root) { Err(InvalidAnnotation::Misplaced) } else { Ok(found) }
    }

    /// Whether the tool asks for none.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// The headers the tool asks for.
    pub fn iter(&self) -> impl Iterator<Item = &ParamHeader> {
        self.params.iter()
    }

    // The depth of JSON bounds the recursion.
    fn collect(&mut self, schema: &Object<'_>, path: &mut Vec<Box<str>>) -> Result<(), InvalidAnnotation> {
        let Some(properties) = schema.get_object("properties") else { return Ok(()) };
        for entry in properties.entries() {
            let (Some(key), Some(property)) = (entry.key, entry.value.as_object()) else { continue };
            path.push(key.as_ref().into());
            if let Some(annotation) = property.get(ANNOTATION) {
                self.add(&property, &annotation, path)?;
            }
            self.collect(&property, path)?;
            path.pop();
        }
        Ok(())
    }

    fn add(
        &mut self,
        property: &Object<'_>,
        annotation: &Value<'_>,
        path: &[Box<str>],
    ) -> Result<(), InvalidAnnotation> {
        let full = annotation.as_str().filter(|name| !name.is_empty()).map(|name| format!("{PARAM_PREFIX}{name}"));
        let header = full
            .and_then(|name| HeaderName::try_from(name).ok())
            .ok_or_else(|| InvalidAnnotation::NotAName(path.join(".")))?;
        if self.params.iter().any(|param| param.header == header) {
            return Err(InvalidAnnotation::Repeated(path.join(".")));
        }
        if !matches!(property.get_str("type").as_deref(), Some("string" | "integer" | "boolean")) {
            return Err(InvalidAnnotation::NotPrimitive(path.join(".")));
        }
        if self.params.len() == MAX_HEADERS {
            return Err(InvalidAnnotation::TooMany);
        }
        self.params.push(ParamHeader { header, path: path.to_vec() });
        Ok(())
    }

    /// Compares received headers with a call's arguments.
    pub fn validate(&self, headers: &HeaderMap, arguments: Option<&Object<'_>>) -> Result<(), GatewayError> {
        for param in &self.params {
            let name = &param.header;
            let header = headers::single_decoded(headers, name)?;
            let body = param.argument(arguments)?;
            match (header, body) {
                (None, None) => {}
                (Some(header), Some(body)) if body.says(&header) => {}
                (Some(_), Some(_)) => {
                    return Err(mismatch(format!("{name} header does not match argument {}", param.path.join("."))));
                }
                (None, Some(_)) => return Err(mismatch(format!("the {name} header is missing"))),
                (Some(_), None) => {
                    return Err(mismatch(format!("there is a {name} header and no argument {}", param.path.join("."))));
                }
            }
        }
        Ok(())
    }

    /// The headers to send with a call.
    pub fn write(&self, arguments: Option<&Object<'_>>) -> Result<Vec<(HeaderName, HeaderValue)>, GatewayError> {
        let mut out = Vec::with_capacity(self.params.len());
        for param in &self.params {
            if let Some(argument) = param.argument(arguments)? {
                out.push((param.header.clone(), encode_value(argument.text())));
            }
        }
        Ok(out)
    }
}

/// A value that a header can mirror.
enum Argument<'a> {
    Text(Cow<'a, str>),
    Number(&'a str),
    Bool(&'static str),
}

impl Argument<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(text) | Self::Bool(text) => text,
        }
    }

    /// Whether a header says the same. A number may be written in another form by whoever wrote the header.
    fn says(&self, header: &str) -> bool {
        /// Beyond this, neighbouring integers share a double and only their text tells them apart.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.abs() < EXACT);
        match self {
            Self::Number(text) => *text == header || number(text).is_some_and(|value| number(header) == Some(value)),
            other => other.text() == header,
        }
    }
}

impl ParamHeader {
    /// The argument, if it is there and neither null nor a container. Were a key on the way there twice, the server behind
    /// us could act on the one we did not compare.
    fn argument<'a>(&self, arguments: Option<&Object<'a>>) -> Result<Option<Argument<'a>>, GatewayError> {
        let Some((last, way)) = self.path.split_last() else { return Ok(None) };
        let Some(mut object) = arguments.cloned() else { return Ok(None) };
        let get = |object: &Object<'a>, key: &str| {
            object.get_unique(key).map_err(|_| mismatch(format!("argument {} stands twice", self.path.join("."))))
        };
        for key in way {
            match get(&object, key)?.and_then(|value| value.as_object()) {
                Some(inner) => object = inner,
                None => return Ok(None),
            }
        }
        let Some(value) = get(&object, last)? else { return Ok(None) };
        Ok(match value.as_bool() {
            Some(true) => Some(Argument::Bool("true")),
            Some(false) => Some(Argument::Bool("false")),
            None if value.is_number() => Some(Argument::Number(value.text())),
            None => value.as_str().map(Argument::Text),
        })
    }
}

fn mismatch(message: String) -> GatewayError {
    GatewayError::new(Kind::HeaderMismatch, message)
}

/// Where a piece of schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// Reached from the root by `properties` alone: the place for an annotation.
    Property,
    Elsewhere,
}

fn has_misplaced(schema: &Object<'_>, place: Place) -> bool {
    let below = if place == Place::Elsewhere { Place::Elsewhere } else { Place::Property };
    schema.entries().any(|entry| match entry.key.as_deref() {
        Some(ANNOTATION) => place != Place::Property,
        Some("properties") => any_schema_has_misplaced(&entry.value, below),
        Some("$defs" | "definitions" | "dependentSchemas" | "patternProperties") => {
            any_schema_has_misplaced(&entry.value, Place::Elsewhere)
        }
        // Data, not schemas.
        Some("default" | "const" | "enum" | "examples") => false,
        _ => value_has_misplaced(&entry.value),
    })
}

/// In any of the schemas that are the members of an object.
fn any_schema_has_misplaced(schemas: &Value<'_>, place: Place) -> bool {
    let entries = schemas.as_object().into_iter().flat_map(|object| object.entries());
    entries.filter_map(|entry| entry.value.as_object()).any(|schema| has_misplaced(&schema, place))
}

fn value_has_misplaced(value: &Value<'_>) -> bool {
    if let Some(schema) = value.as_object() {
        return has_misplaced(&schema, Place::Elsewhere);
    }
    value.as_array().into_iter().flatten().any(|element| value_has_misplaced(&element))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: &str) -> Result<ParamHeaders, InvalidAnnotation> {
        let schema = format!(r#"{{"type":"object","properties":{properties}}}"#);
        ParamHeaders::from_schema(&Object::parse(schema.as_bytes()).unwrap())
    }

    fn tool() -> ParamHeaders {
        read(
            r#"{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},
                "deep":{"type":"object","properties":{"on":{"type":"boolean","x-mcp-header":"On"}}},"plain":{"type":"string"}}"#,
        )
        .unwrap()
    }

    fn validate(pairs: &[(&str, &str)], arguments: &str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let outcome = tool().validate(&headers, Some(&Object::parse(arguments.as_bytes()).unwrap()));
        outcome.map_err(|error| {
            assert_eq!(error.kind, Kind::HeaderMismatch);
            error.message.into_owned()
        })
    }

    #[test]
    fn annotations_are_found_along_properties() {
        let found: Vec<_> = tool().iter().map(|param| (param.header.to_string(), param.path.join("."))).collect();
        let expected = [("mcp-param-region", "region"), ("mcp-param-n", "n"), ("mcp-param-on", "deep.on")];
        assert_eq!(found, expected.map(|(header, path)| (header.to_owned(), path.to_owned())));
        assert!(read("{}").unwrap().is_empty());
    }

    #[test]
    fn invalid_annotations_are_named() {
        use InvalidAnnotation as E;
        let cases = [
            (r#"{"a":{"type":"number","x-mcp-header":"A"}}"#, E::NotPrimitive("a".into())),
            (r#"{"a":{"type":["string"],"x-mcp-header":"A"}}"#, E::NotPrimitive("a".into())),
            (r#"{"a":{"type":"string","x-mcp-header":""}}"#, E::NotAName("a".into())),
            (r#"{"a":{"type":"string","x-mcp-header":"bad:name"}}"#, E::NotAName("a".into())),
            (r#"{"a":{"type":"string","x-mcp-header":7}}"#, E::NotAName("a".into())),
            (
                r#"{"a":{"type":"string","x-mcp-header":"R"},"b":{"type":"string","x-mcp-header":"r"}}"#,
                E::Repeated("b".into()),
            ),
            (r#"{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}"#, E::Misplaced),
            (r#"{"a":{"anyOf":[{"type":"string","x-mcp-header":"A"}]}}"#, E::Misplaced),
        ];
        for (properties, expected) in cases {
            assert_eq!(read(properties).unwrap_err(), expected, "{properties}");
        }
        let root = Object::parse(br#"{"x-mcp-header":"A"}"#).unwrap();
        assert_eq!(ParamHeaders::from_schema(&root), Err(E::Misplaced));
        assert!(read(r#"{"a":{"default":{"x-mcp-header":1}}}"#).unwrap().is_empty(), "data is no schema");
        assert!(read(r#"{"x-mcp-header":{"type":"string"}}"#).unwrap().is_empty(), "a property may have that name");
    }

    #[test]
    fn headers_must_say_what_the_arguments_say() {
        let good = r#"{"region":"caf\u00e9","n":30,"deep":{"on":true},"plain":"x"}"#;
        let region = ("Mcp-Param-Region", "=?base64?Y2Fmw6k=?=");
        let (n, on) = (("mcp-param-n", "30"), ("MCP-PARAM-ON", "true"));
        assert_eq!(validate(&[region, n, on, ("Mcp-Param-Unknown", "x")], good), Ok(()));
        assert_eq!(validate(&[region, ("mcp-param-n", "3e1"), on], good), Ok(()));
        assert_eq!(validate(&[], r#"{"region":null,"deep":[],"n":{}}"#), Ok(()));
        for (headers, arguments) in [
            (&[n, on][..], good),
            (&[region, n, on], r#"{"n":30,"deep":{"on":true}}"#),
            (&[region, ("mcp-param-n", "31"), on], good),
            (&[region, n, ("mcp-param-on", "True")], good),
            (&[("mcp-param-region", "=?base64?Y2Fmw6k?="), n, on], good),
            (&[region, region, n, on], good),
            (&[n], r#"{"n":30,"n":31}"#),
            (&[on], r#"{"deep":{"on":true},"deep":{}}"#),
        ] {
            assert!(validate(headers, arguments).is_err(), "{headers:?} {arguments}");
        }
        let big = ("mcp-param-n", "9007199254740993");
        assert!(validate(&[big], r#"{"n":9007199254740992}"#).is_err());
    }

    #[test]
    fn what_is_written_passes_validation() {
        let text = r#"{"region":" a\nb ","n":-0.5e1,"deep":{"on":false}}"#;
        let arguments = Object::parse(text.as_bytes()).unwrap();
        let headers: HeaderMap = tool().write(Some(&arguments)).unwrap().into_iter().collect();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers["mcp-param-n"], "-0.5e1");
        tool().validate(&headers, Some(&arguments)).unwrap();
        assert_eq!(tool().write(None).unwrap(), []);
    }
}
