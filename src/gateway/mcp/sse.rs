//! Server-sent events, read as the WHATWG standard says, in bounded memory.
//!
//! [`Decoder`] takes chunks as they come from the wire and yields events. An event whose data stands in one line of one
//! chunk, as nearly all of MCP's do, is a slice of that chunk and not a copy. An event larger than the hold limit comes in
//! pieces, so that no answer is too large to pass. Writing is in [`sse_write`](super::sse_write).

use bytes::{Buf as _, Bytes, BytesMut};
use std::time::Duration;

/// The longest id and event name taken, in bytes. Real ids are UUIDs and counters.
const MAX_SMALL_FIELD: usize = 1024;
/// The longest name of a field the standard knows, in bytes.
const MAX_FIELD_NAME: usize = 5;
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// What a stream yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole event.
    Event(Event),
    /// A piece of an event that is larger than the hold limit; the first has at least that size.
    Part {
        /// The event's name, as far as it came before the data; on the first piece only.
        name: Option<Box<str>>,
        /// A piece of the data; the last may be empty.
        bytes: Bytes,
        /// Whether the event ends here.
        last: bool,
    },
    /// The server says how long to wait before reconnecting.
    Retry(Duration),
}

/// A whole event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; `None` means `message`.
    pub name: Option<Box<str>>,
    /// The id that came with this very event.
    pub id: Option<Box<str>>,
    /// Its lines joined by line feeds; empty in an event that only sets an id (a priming event).
    pub data: Bytes,
}

/// Why a stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An id or event name beyond any honest size.
    #[error("an event's id or name is longer than {MAX_SMALL_FIELD} bytes")]
    FieldTooLong,
}

/// Where in a line the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// In the field's name.
    Name,
    /// In the field's value; `fresh` until its first byte.
    Value { field: Field, fresh: bool },
    /// In a comment, or in a field nobody knows.
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
}

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"data" => Some(Self::Data),
            b"event" => Some(Self::Event),
            b"id" => Some(Self::Id),
            b"retry" => Some(Self::Retry),
            _ => None,
        }
    }
}

/// Data gathered for an event: a slice of a chunk while one suffices, a copy after that.
#[derive(Debug, Default)]
enum Gathered {
    #[default]
    Nothing,
    Slice(Bytes),
    Copy(BytesMut),
}

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Slice(bytes) => bytes.len(),
            Self::Copy(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, more: Bytes) {
        match self {
            _ if more.is_empty() => {}
            Self::Nothing => *self = Self::Slice(more),
            Self::Slice(bytes) => {
                let mut copy = BytesMut::with_capacity((bytes.len() + more.len()) * 2);
                copy.extend_from_slice(bytes);
                copy.extend_from_slice(&more);
                *self = Self::Copy(copy);
            }
            Self::Copy(bytes) => bytes.extend_from_slice(&more),
        }
    }

    fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Self::Nothing => Bytes::new(),
            Self::Slice(bytes) => bytes,
            Self::Copy(bytes) => bytes.freeze(),
        }
    }
}

/// Reads a stream of events. Feed it with [`push`](Self::push), then take items until there is none.
#[derive(Debug)]
pub struct Decoder {
    hold: usize,
    /// What is left of the chunks pushed.
    chunk: Bytes,
    /// Bytes of a byte order mark seen at the stream's start; none is expected when it is complete.
    bom: usize,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_cr: bool,
    line: Line,
    /// A name or small value that began in an earlier chunk or is being gathered.
    small: Vec<u8>,
    data: Gathered,
    /// Lines of data in this event.
    data_lines: usize,
    /// Pieces of this event were yielded already.
    in_parts: bool,
    name: Option<Box<str>>,
    id: Option<Box<str>>,
    last_event_id: Option<Box<str>>,
}

impl Decoder {
    /// A decoder that holds events of up to `hold` bytes.
    pub fn new(hold: usize) -> Self {
        Self {
            hold,
            chunk: Bytes::new(),
            bom: 0,
            after_cr: false,
            line: Line::Name,
            small: Vec::new(),
            data: Gathered::Nothing,
            data_lines: 0,
            in_parts: false,
            name: None,
            id: None,
            last_event_id: None,
        }
    }

    /// Adds what came next. Take all items before the next push: what is left over is copied together.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.chunk = [std::mem::take(&mut self.chunk), chunk].concat().into();
        }
    }

    /// The id to resume from, as the standard keeps it: of the last event that ended and carried one.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// Whether an event has begun and not ended. At the stream's end it is lost.
    pub fn in_event(&self) -> bool {
        self.data_lines > 0
    }

    /// The next item, or `None` when more has to come first.
    pub fn next_item(&mut self) -> Result<Option<Item>, SseError> {
        self.skip_bom();
        while !self.chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && self.chunk[0] == b'\n' {
                self.chunk.advance(1);
                continue;
            }
            let (segment, ends) = self.segment();
            let item = match (self.read(segment)?, ends) {
                (None, false) => None,
                (item @ Some(_), false) => item,
                (None, true) => self.end_of_line(),
                // The line's end stays for the next turn.
                (item @ Some(_), true) => return Ok(item),
            };
            if ends {
                self.after_cr = self.chunk[0] == b'\r';
                self.chunk.advance(1);
            }
            if item.is_some() {
                return Ok(item);
            }
        }
        Ok(None)
    }

    fn skip_bom(&mut self) {
        while self.bom < BOM.len() && !self.chunk.is_empty() {
            if self.chunk[0] == BOM[self.bom] {
                self.chunk.advance(1);
                self.bom += 1;
            } else {
                // Part of a mark is the beginning of a field name that nobody knows.
                if self.bom > 0 {
                    self.line = Line::Ignored;
                }
                self.bom = BOM.len();
            }
        }
    }

    /// What the chunk holds of the current line, and whether the line ends there. The line's end is left standing.
    fn segment(&mut self) -> (Bytes, bool) {
        match memchr::memchr2(b'\r', b'\n', &self.chunk) {
            Some(end) => (self.chunk.split_to(end), true),
            None => (std::mem::take(&mut self.chunk), false),
        }
    }

    /// Takes a part of a line that holds no line end.
    fn read(&mut self, mut segment: Bytes) -> Result<Option<Item>, SseError> {
        if self.line == Line::Name {
            self.read_name(&mut segment);
        }
        let Line::Value { field, fresh } = &mut self.line else { return Ok(None) };
        if *fresh && !segment.is_empty() {
            *fresh = false;
            if segment[0] == b' ' {
                segment.advance(1);
            }
        }
        if *field == Field::Data {
            self.data.push(segment);
            return Ok(self.part_if_large());
        }
        if self.small.len() + segment.len() > MAX_SMALL_FIELD {
            return Err(SseError::FieldTooLong);
        }
        self.small.extend_from_slice(&segment);
        Ok(None)
    }

    /// Takes the field's name and its colon off `segment`, or gathers what there is of the name.
    fn read_name(&mut self, segment: &mut Bytes) {
        let colon = memchr::memchr(b':', segment);
        let name = colon.unwrap_or(segment.len());
        let room = (MAX_FIELD_NAME + 1).saturating_sub(self.small.len());
        self.small.extend_from_slice(&segment[..name.min(room)]);
        if colon.is_none() && self.small.len() <= MAX_FIELD_NAME {
            segment.clear();
            return;
        }
        segment.advance(colon.map_or(name, |colon| colon + 1));
        self.line = match Field::named(&self.small) {
            Some(field) => Line::Value { field, fresh: true },
            None => Line::Ignored,
        };
        self.small.clear();
        self.begin_value();
    }

    fn begin_value(&mut self) {
        if let Line::Value { field: Field::Data, .. } = self.line {
            if self.data_lines > 0 {
                self.data.push(Bytes::from_static(b"\n"));
            }
            self.data_lines += 1;
        }
    }

    fn part_if_large(&mut self) -> Option<Item> {
        if self.data.len() == 0 || !(self.in_parts || self.data.len() > self.hold) {
            return None;
        }
        self.in_parts = true;
        Some(Item::Part { name: self.name.take(), bytes: self.data.take(), last: false })
    }

    fn end_of_line(&mut self) -> Option<Item> {
        if self.line == Line::Name {
            if self.small.is_empty() {
                return self.end_of_event();
            }
            // A name without a colon is a field with an empty value.
            if let Some(field) = Field::named(&self.small) {
                self.line = Line::Value { field, fresh: true };
                self.begin_value();
            }
            self.small.clear();
        }
        let value = std::mem::take(&mut self.small);
        let line = std::mem::replace(&mut self.line, Line::Name);
        let Line::Value { field, .. } = line else { return None };
        let text = || String::from_utf8_lossy(&value).into_owned().into_boxed_str();
        match field {
            Field::Data => return self.part_if_large(),
            Field::Event => self.name = (!value.is_empty()).then(text),
            Field::Id if value.contains(&0) => {}
            Field::Id => self.id = Some(text()),
            Field::Retry => {
                let digits = value.iter().all(u8::is_ascii_digit);
                let millis = std::str::from_utf8(&value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
                return millis.map(|millis| Item::Retry(Duration::from_millis(millis)));
            }
        }
        None
    }

    fn end_of_event(&mut self) -> Option<Item> {
        let (name, id, data) = (self.name.take(), self.id.take(), self.data.take());
        if id.is_some() {
            self.last_event_id.clone_from(&id);
        }
        let has_data = std::mem::take(&mut self.data_lines) > 0;
        if std::mem::take(&mut self.in_parts) {
            return Some(Item::Part { name: None, bytes: data, last: true });
        }
        // Without data the standard knows no event; the id above is all there was to it.
        has_data.then_some(Item::Event(Event { name, id, data }))
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
