//! Which resource template a URI belongs to: RFC 6570 templates, read backwards.
//!
//! A template is used to find the server that offers it, and that server then decides: where SDKs disagree about what an
//! expression takes, the wider reading is used. Matching takes time linear in the URI for each part of the template; there
//! is no backtracking to be provoked.

/// Templates beyond this length, in bytes, match nothing; servers list them, so they are not to be trusted.
const MAX_TEMPLATE: usize = 2 * 1024;
/// URIs beyond this length, in bytes, match nothing. Common servers and proxies refuse longer ones.
const MAX_URI: usize = 8 * 1024;
/// Variables in one template.
const MAX_VARIABLES: usize = 32;

/// A template that can be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// `{x}`: something without a slash.
    Segment,
    /// `{+x}`: anything.
    Anything,
    /// `{?x,y}`, `{&x}`, `{;x}`: parameters of these names, each after a sign; may be absent.
    Parameters {
        first: u8,
        next: u8,
        names: Vec<Box<str>>,
    },
}

/// The text is not a template this can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 6570 template of at most {MAX_TEMPLATE} bytes and {MAX_VARIABLES} variables")]
pub struct NotATemplate;

impl UriTemplate {
    /// Reads a template.
    pub fn parse(template: &str) -> Result<Self, NotATemplate> {
        if template.len() > MAX_TEMPLATE {
            return Err(NotATemplate);
        }
        let (mut parts, mut rest, mut variables) = (Vec::new(), template, 0);
        while let Some((literal, tail)) = rest.split_once('{') {
            push_literal(&mut parts, literal)?;
            let (expression, tail) = tail.split_once('}').ok_or(NotATemplate)?;
            variables += push_expression(&mut parts, expression)?;
            if variables > MAX_VARIABLES {
                return Err(NotATemplate);
            }
            rest = tail;
        }
        push_literal(&mut parts, rest)?;
        Ok(Self { parts })
    }

    /// Whether the template can have yielded this URI.
    pub fn matches(&self, uri: &str) -> bool {
        if uri.len() > MAX_URI {
            return false;
        }
        let uri = uri.as_bytes();
        // `reached[i]`: the parts so far can have yielded the first i bytes.
        let mut reached = vec![false; uri.len() + 1];
        reached[0] = true;
        for part in &self.parts {
            reached = part.advance(uri, &reached);
        }
        reached[uri.len()]
    }
}

impl Part {
    fn advance(&self, uri: &[u8], reached: &[bool]) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        match self {
            Self::Literal(text) => {
                for at in positions(reached).filter(|at| uri[*at..].starts_with(text.as_bytes())) {
                    next[at + text.len()] = true;
                }
            }
            Self::Segment => extend(uri, reached, &mut next, |byte| byte != b'/'),
            Self::Anything => extend(uri, reached, &mut next, |_| true),
            Self::Parameters { first, next: sign, names } => {
                // They may be absent; after the first of them every further one has the other sign.
                let mut inside = vec![false; reached.len()];
                for at in 0..reached.len() {
                    let signs = [(reached[at], *first), (inside[at], *sign)];
                    for (_, sign) in signs.into_iter().filter(|(here, _)| *here) {
                        if let Some(end) = parameter(uri, at, sign, names) {
                            inside[end] = true;
                        }
                    }
                    next[at] = reached[at] || inside[at];
                }
            }
        }
        next
    }
}

fn positions(reached: &[bool]) -> impl Iterator<Item = usize> + '_ {
    reached.iter().enumerate().filter_map(|(at, reached)| reached.then_some(at))
}

/// One or more bytes of a kind, from every position reached.
fn extend(uri: &[u8], reached: &[bool], next: &mut [bool], allowed: impl Fn(u8) -> bool) {
    let mut inside = false;
    for (at, byte) in uri.iter().enumerate() {
        inside = (inside || reached[at]) && allowed(*byte);
        next[at + 1] = inside;
    }
}

/// Where a parameter ends that begins at `at` with `sign` and has one of the names.
fn parameter(uri: &[u8], at: usize, sign: u8, names: &[Box<str>]) -> Option<usize> {
    let rest = uri.get(at..)?.strip_prefix(&[sign])?;
    let length = rest.iter().position(|byte| matches!(byte, b'&' | b'#' | b';' | b'/')).unwrap_or(rest.len());
    let name = rest[..length].split(|byte| *byte == b'=').next()?;
    names.iter().any(|known| known.as_bytes() == name).then_some(at + 1 + length)
}

fn push_literal(parts: &mut Vec<Part>, text: &str) -> Result<(), NotATemplate> {
    if text.contains('}') {
        return Err(NotATemplate);
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text.into()));
    }
    Ok(())
}

/// Adds an expression's parts; yields how many variables it has.
fn push_expression(parts: &mut Vec<Part>, expression: &str) -> Result<usize, NotATemplate> {
    let operator = expression.bytes().next().filter(|byte| b"+#./;?&".contains(byte));
    let names = expression.get(usize::from(operator.is_some())..).unwrap_or_default();
    let (mut plain, mut exploded) = (Vec::new(), false);
    for name in names.split(',') {
        exploded |= name.ends_with('*');
        let name = name.trim_end_matches('*').split(':').next().unwrap_or_default();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '{' || c == '/') {
            return Err(NotATemplate);
        }
        plain.push(Box::from(name));
    }
    let count = plain.len();
    let mut list = |lead: Option<&str>, between: &str, part: &Part| {
        for index in 0..count {
            let text = if index == 0 { lead } else { Some(between) };
            parts.extend(text.map(|text| Part::Literal(text.into())));
            parts.push(part.clone());
        }
    };
    match operator {
        None => list(None, ",", &Part::Segment),
        Some(b'+') => list(None, ",", &Part::Anything),
        Some(b'#') => list(Some("#"), ",", &Part::Anything),
        Some(b'.') => list(Some("."), ".", &Part::Segment),
        Some(b'/') if exploded => list(Some("/"), "/", &Part::Anything),
        Some(b'/') => list(Some("/"), "/", &Part::Segment),
        Some(b';') => parts.push(Part::Parameters { first: b';', next: b';', names: plain }),
        Some(sign) => parts.push(Part::Parameters { first: sign, next: b'&', names: plain }),
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(template: &str, uri: &str) -> bool {
        UriTemplate::parse(template).unwrap().matches(uri)
    }

    #[test]
    fn expressions_match_what_they_expand_to() {
        let cases = [
            ("test://template/{id}/data", "test://template/123/data"),
            ("file:///{path}.{ext}", "file:///a.b.c"),
            ("file:///{+path}", "file:///a/b/c.txt"),
            ("{scheme}://x{/a,b}", "http://x/1/2"),
            ("db://{table}{#part}", "db://users#a/b"),
            ("x://h{.ext}", "x://h.json"),
            ("x://s{?q,lang}", "x://s?q=a%20b&lang=en"),
            ("x://s{?q,lang}", "x://s?lang="),
            ("x://s{?q}", "x://s"),
            ("x://s?a=1{&b,c}", "x://s?a=1&c=2&b=3"),
            ("x://s{;v}/t", "x://s;v=1/t"),
            ("x://{a,b}", "x://1,2"),
            ("x:/{/parts*}", "x://a/b/c"),
            ("x://{a:3}", "x://abc"),
            ("plain://x", "plain://x"),
            ("x://{name}", "x://caf\u{e9}"),
        ];
        for (template, uri) in cases {
            assert!(matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn expressions_match_nothing_else() {
        let cases = [
            ("test://template/{id}/data", "test://template//data"),
            ("test://template/{id}/data", "test://template/a/b/data"),
            ("test://template/{id}/data", "test://template/a/data/"),
            ("file:///{+path}", "file:///"),
            ("x://s{?q}", "x://s?p=1"),
            ("x://s{?q}", "x://s&q=1"),
            ("x://{a,b}", "x://1"),
            ("plain://x", "plain://xy"),
        ];
        for (template, uri) in cases {
            assert!(!matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn broken_and_oversized_templates_are_refused() {
        for template in ["x://{", "x://{}", "x://}", "x://{a{b}}", "x://{?}", "x://{a,}"] {
            assert_eq!(UriTemplate::parse(template), Err(NotATemplate), "{template}");
        }
        assert!(UriTemplate::parse(&"{a}".repeat(MAX_VARIABLES)).is_ok());
        assert_eq!(UriTemplate::parse(&"{a}".repeat(MAX_VARIABLES + 1)), Err(NotATemplate));
        assert_eq!(UriTemplate::parse(&"x".repeat(MAX_TEMPLATE + 1)), Err(NotATemplate));
        assert!(!matches("{+a}", &"x".repeat(MAX_URI + 1)));
    }

    #[test]
    fn a_hostile_template_costs_no_more_than_any_other() {
        let template = "{+a}".repeat(MAX_VARIABLES);
        assert!(matches(&template, &"a".repeat(MAX_URI)));
        let parameters = "{?a}{&a}".repeat(MAX_VARIABLES / 2);
        assert!(!matches(&parameters, &"?a&a".repeat(MAX_URI / 4)));
    }

    proptest! {
        #[test]
        fn an_expansion_matches(values in prop::collection::vec("[a-z0-9%._~-]{1,8}", 3)) {
            let [a, b, c] = [&values[0], &values[1], &values[2]];
            let uri = format!("s://{a}/x.{b}?q={c}");
            prop_assert!(matches("s://{a}/x{.b}{?q}", &uri), "{}", uri);
            prop_assert!(matches("s://{+all}", &uri), "{}", uri);
            prop_assert!(!matches("s://{a}", &uri), "{}", uri);
        }

        #[test]
        fn anything_is_survived(template in any::<String>(), uri in any::<String>()) {
            if let Ok(template) = UriTemplate::parse(&template) {
                template.matches(&uri);
            }
        }
    }
}
