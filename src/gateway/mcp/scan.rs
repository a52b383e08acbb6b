//! One forward pass over JSON text: validates, finds where things begin and end, builds nothing.
//!
//! [`Scanner`] walks borrowed bytes. It never recurses (nesting is a bit per level in one integer), so no input can
//! exhaust the stack, and it allocates nothing. It does not look at UTF-8: its callers check the whole text once, which
//! is faster than doing it string by string.

use super::envelope::DecodeError;
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// How deep arrays and objects may nest, the outermost included. The same as serde's limit, and enough bits of [`Nesting`].
pub(super) const MAX_DEPTH: u32 = 128;

/// Kinds of the open containers, one bit each: 1 is an object.
struct Nesting {
    bits: u128,
    depth: u32,
    limit: u32,
}

impl Nesting {
    fn push(&mut self, object: bool, at: usize) -> Result<(), DecodeError> {
        if self.depth == self.limit {
            return Err(DecodeError::TooDeep { at });
        }
        self.bits = (self.bits << 1) | u128::from(object);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.bits & 1 == 1
    }
}

/// A string token: where its content is, without the quotes, and whether it must be unescaped to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StringToken {
    pub(super) content: Range<usize>,
    pub(super) escaped: bool,
}

/// A position in JSON text.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    /// Starts somewhere inside the text; positions stay those of the whole text.
    pub(super) fn at(bytes: &'a [u8], pos: usize) -> Self {
        Self { bytes, pos }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    #[inline]
    pub(super) fn whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    /// Skips whitespace and takes `expected`, if it is there.
    #[inline]
    pub(super) fn take(&mut self, expected: u8) -> bool {
        self.whitespace();
        let found = self.peek() == Some(expected);
        self.pos += usize::from(found);
        found
    }

    /// Skips whitespace and takes `expected`, which must be there.
    #[inline]
    pub(super) fn expect(&mut self, expected: u8) -> Result<(), DecodeError> {
        if self.take(expected) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Nothing but whitespace may be left.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        self.whitespace();
        if self.pos == self.bytes.len() { Ok(()) } else { Err(DecodeError::TrailingData { at: self.pos }) }
    }

    pub(super) fn unexpected(&self) -> DecodeError {
        DecodeError::Syntax { at: self.pos }
    }

    /// An object's key and the colon after it; stops before the value.
    #[inline]
    pub(super) fn key(&mut self) -> Result<StringToken, DecodeError> {
        self.expect(b'"')?;
        let key = self.string()?;
        self.expect(b':')?;
        self.whitespace();
        Ok(key)
    }

    /// Any value, nested to any kind, inside `outer` containers that are already open. Yields its span.
    pub(super) fn value(&mut self, outer: u32) -> Result<Range<usize>, DecodeError> {
        self.whitespace();
        let start = self.pos;
        let mut nesting = Nesting { bits: 0, depth: 0, limit: MAX_DEPTH - outer };
        loop {
            self.whitespace();
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    self.string()?;
                }
                Some(b'{') => {
                    nesting.push(true, self.pos)?;
                    self.pos += 1;
                    if !self.take(b'}') {
                        self.key()?;
                        continue;
                    }
                    nesting.pop();
                }
                Some(b'[') => {
                    nesting.push(false, self.pos)?;
                    self.pos += 1;
                    if !self.take(b']') {
                        continue;
                    }
                    nesting.pop();
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return Err(self.unexpected()),
            }
            // A value has ended, and with it perhaps the containers around it.
            loop {
                if nesting.depth == 0 {
                    return Ok(start..self.pos);
                }
                self.whitespace();
                match (self.peek(), nesting.in_object()) {
                    (Some(b','), object) => {
                        self.pos += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.pos += 1;
                        nesting.pop();
                    }
                    _ => return Err(self.unexpected()),
                }
            }
        }
    }

    /// The rest of a string, its opening quote already taken; takes the closing one.
    #[inline]
    pub(super) fn string(&mut self) -> Result<StringToken, DecodeError> {
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(StringToken { content: start..self.pos - 1, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Moves to the next quote, backslash or control character, eight bytes at a time.
    #[inline]
    fn plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        while let Some(chunk) = self.bytes.get(self.pos..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            // Subtracting borrows into the high bit of a byte that is too small: one that was the quote, the backslash,
            // or below the space. Bytes whose high bit was set before are none of these. A false hit can only stand above a
            // true one, so the lowest is exact.
            let quotes = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
            let backslashes = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
            let controls = word.wrapping_sub(ONES * 0x20);
            let hits = (quotes | backslashes | controls) & !word & HIGHS;
            if hits != 0 {
                self.pos += (hits.trailing_zeros() / 8) as usize;
                return;
            }
            self.pos += 8;
        }
        while self.peek().is_some_and(|b| b != b'"' && b != b'\\' && b >= 0x20) {
            self.pos += 1;
        }
    }

    fn escape(&mut self) -> Result<(), DecodeError> {
        self.pos += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 1,
            Some(b'u') => {
                self.pos += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                        return Err(self.unexpected());
                    }
                    self.pos += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), DecodeError> {
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        if self.peek() == Some(b'0') {
            self.pos += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), DecodeError> {
        let start = self.pos;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.pos += 1;
        }
        if self.pos == start { Err(self.unexpected()) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), DecodeError> {
        for expected in word {
            if self.peek() != Some(*expected) {
                return Err(self.unexpected());
            }
            self.pos += 1;
        }
        Ok(())
    }
}

/// The content of a validated string, unescaped; `None` when an escape names half of a surrogate pair alone.
#[inline]
pub(super) fn unescape(content: &str, escaped: bool) -> Option<Cow<'_, str>> {
    if escaped { unescape_copy(content).map(Cow::Owned) } else { Some(Cow::Borrowed(content)) }
}

fn unescape_copy(content: &str) -> Option<String> {
    let mut out = String::with_capacity(content.len());
    let mut rest = content;
    while let Some((plain, tail)) = rest.split_once('\\') {
        out.push_str(plain);
        let (c, tail) = escape_sequence(tail)?;
        out.push(c);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// The character an escape stands for, and what follows. `tail` begins after the backslash.
fn escape_sequence(tail: &str) -> Option<(char, &str)> {
    let kind = *tail.as_bytes().first()?;
    let after = tail.get(1..)?;
    let simple = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (unit, after) = code_unit(after)?;
            return if (0xd800..0xdc00).contains(&unit) {
                let (low, after) = code_unit(after.strip_prefix("\\u")?)?;
                char::decode_utf16([unit, low]).next()?.ok().map(|c| (c, after))
            } else {
                char::from_u32(u32::from(unit)).map(|c| (c, after))
            };
        }
        other => char::from(other),
    };
    Some((simple, after))
}

fn code_unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

/// Above this many keys a hash set compares faster than a walk.
const FEW_KEYS: usize = 12;

/// Keys seen so far at one level. Does not allocate for the few plain keys that real messages have.
pub(super) struct Keys<'a> {
    few: [&'a str; FEW_KEYS],
    len: usize,
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new() -> Self {
        Self { few: [""; FEW_KEYS], len: 0, many: None }
    }

    /// Adds a key; false when it was there.
    pub(super) fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if let Cow::Borrowed(plain) = key
            && self.many.is_none()
            && self.len < FEW_KEYS
        {
            if self.few[..self.len].contains(&plain) {
                return false;
            }
            self.few[self.len] = plain;
            self.len += 1;
            return true;
        }
        let few = &self.few[..self.len];
        let many = self.many.get_or_insert_with(|| few.iter().map(|key| Cow::Borrowed(*key)).collect());
        many.insert(key)
    }
}
