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
mod tests {
    use super::*;
    use crate::gateway::mcp::sse_write;
    use proptest::prelude::*;

    /// Whole events and retries, with pieces joined, whatever the chunking.
    fn decode(chunks: impl IntoIterator<Item = Bytes>, hold: usize) -> (Vec<Item>, Option<String>) {
        let (mut decoder, mut items, mut parts) = (Decoder::new(hold), Vec::new(), BytesMut::new());
        let mut name_of_parts = None;
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(item) = decoder.next_item().unwrap() {
                let Item::Part { name, bytes, last } = item else {
                    items.push(item);
                    continue;
                };
                assert!(!parts.is_empty() || bytes.len() > hold, "the first piece is larger than the limit");
                name_of_parts = name_of_parts.or(name);
                parts.extend_from_slice(&bytes);
                if last {
                    items.push(Item::Part {
                        name: name_of_parts.take(),
                        bytes: std::mem::take(&mut parts).freeze(),
                        last: true,
                    });
                }
            }
            assert!(decoder.data.len() <= hold, "memory is bounded");
        }
        (items, decoder.last_event_id().map(str::to_owned))
    }

    fn decode_text(text: &str) -> Vec<Item> {
        decode([Bytes::copy_from_slice(text.as_bytes())], 1000).0
    }

    fn event(name: Option<&str>, id: Option<&str>, data: &str) -> Item {
        let (name, id) = (name.map(Into::into), id.map(Into::into));
        Item::Event(Event { name, id, data: Bytes::copy_from_slice(data.as_bytes()) })
    }

    #[test]
    fn the_standards_examples() {
        assert_eq!(decode_text("data: YHOO\ndata: +2\ndata: 10\n\n"), [event(None, None, "YHOO\n+2\n10")]);
        let stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        assert_eq!(
            decode_text(stream),
            [
                event(None, Some("1"), "first event"),
                event(None, Some(""), "second event"),
                event(None, None, " third event")
            ]
        );
        assert_eq!(decode_text("data\n\ndata\ndata\n\ndata:"), [event(None, None, ""), event(None, None, "\n")]);
        assert_eq!(decode_text("data:test\n\ndata: test\n\n"), [event(None, None, "test"), event(None, None, "test")]);
    }

    #[test]
    fn line_ends_marks_and_unknown_fields() {
        let stream = "\u{feff}event: endpoint\rdata: /m\r\rdatax: no\r\ndat: no\r\n:data: no\r\ndata: a\r\n\r\nretry: 30\nretry: x\n";
        assert_eq!(
            decode_text(stream),
            [event(Some("endpoint"), None, "/m"), event(None, None, "a"), Item::Retry(Duration::from_millis(30))]
        );
        assert_eq!(decode_text("\u{feff}\u{feff}data: x\n\ndata: y\n\n"), [event(None, None, "y")]);
        assert_eq!(decode([Bytes::from_static(b"\xef\xbbdata: x\n\ndata: y\n\n")], 9).0, [event(None, None, "y")]);
    }

    #[test]
    fn an_id_is_kept_when_its_event_ends() {
        let (items, last) = decode([Bytes::from_static(b"id: 7\n\nid: 8\nid: a\0b\ndata\n\nid: 9\ndata: cut")], 9);
        assert_eq!(items, [event(None, Some("8"), "")]);
        assert_eq!(last.as_deref(), Some("8"));
    }

    #[test]
    fn one_line_in_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"event: message\ndata: {\"a\":1}\n\n");
        let mut decoder = Decoder::new(100);
        decoder.push(chunk.clone());
        let Some(Item::Event(event)) = decoder.next_item().unwrap() else { panic!("an event") };
        assert_eq!(event.data.as_ptr(), chunk[21..].as_ptr());
    }

    #[test]
    fn an_endless_name_or_id_ends_the_stream_and_an_endless_comment_does_not() {
        for (field, outcome) in [
            ("id: ", Err(SseError::FieldTooLong)),
            ("event:", Err(SseError::FieldTooLong)),
            (":", Ok(None)),
            ("x", Ok(None)),
        ] {
            let mut decoder = Decoder::new(10);
            decoder.push(Bytes::from(field));
            let mut last = decoder.next_item();
            for _ in 0..100 {
                if last.is_ok() {
                    decoder.push(Bytes::from(vec![b'x'; 100]));
                    last = decoder.next_item();
                }
            }
            assert_eq!(last, outcome, "{field}");
            assert!(decoder.small.len() <= MAX_SMALL_FIELD);
        }
    }

    #[test]
    fn a_large_event_comes_in_pieces() {
        let text = format!("event: big\ndata: {}\ndata: {}\ndata\n\ndata: small\n\n", "a".repeat(50), "b".repeat(30));
        for size in 1..text.len() {
            let chunks = text.as_bytes().chunks(size).map(Bytes::copy_from_slice);
            let (items, _) = decode(chunks, 16);
            let bytes = Bytes::from(format!("{}\n{}\n", "a".repeat(50), "b".repeat(30)));
            assert_eq!(items, [Item::Part { name: Some("big".into()), bytes, last: true }, event(None, None, "small")]);
        }
    }

    fn stream_text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            3 => "data: ?[a-z{}: ]{0,12}",
            1 => "(event|id): ?[a-z0-9]{0,4}",
            1 => "retry: ?[0-9x]{0,4}",
            1 => ":[a-z]{0,4}",
            1 => "[a-z:é]{0,9}",
            2 => Just(String::new()),
        ];
        prop::collection::vec((line, prop_oneof![Just("\n"), Just("\r"), Just("\r\n")]), 0..24).prop_map(|lines| {
            lines.into_iter().flat_map(|(line, end)| [line, end.to_owned()]).collect::<String>().into_bytes()
        })
    }

    proptest! {
        #[test]
        fn decoding_does_not_depend_on_the_chunks(text in stream_text(), sizes in prop::collection::vec(1..9usize, 1..40)) {
            let whole = decode([Bytes::copy_from_slice(&text)], 8);
            let (mut rest, mut chunks) = (&text[..], Vec::new());
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                chunks.push(Bytes::copy_from_slice(chunk));
                rest = tail;
            }
            prop_assert_eq!(decode(chunks, 8), whole);
        }

        #[test]
        fn what_is_written_is_read(
            id in prop::option::of("[a-z0-9-]{1,9}"),
            name in prop::option::of("[a-z]{1,9}"),
            data in any::<String>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let expected = data.replace("\r\n", "\n").replace('\r', "\n");
            let written = sse_write::event(id.as_deref(), name.as_deref(), data.as_bytes());
            prop_assert_eq!(decode([written.clone()], 10_000).0, [event(name.as_deref(), id.as_deref(), &expected)]);

            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut writer, mut pieces) = {
                let (writer, head) = sse_write::EventWriter::begin(id.as_deref(), name.as_deref());
                (writer, vec![head])
            };
            let mut done = 0;
            for cut in cuts.into_iter().chain([data.len()]) {
                pieces.push(writer.piece(Bytes::copy_from_slice(&data.as_bytes()[done..cut])));
                done = cut;
            }
            pieces.push(writer.end());
            prop_assert_eq!(Bytes::from(pieces.concat()), written);
        }

        #[test]
        fn any_bytes_are_survived(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..16), 0..8)) {
            decode(chunks.into_iter().map(Bytes::from), 8);
        }
    }

    #[test]
    fn the_gateways_own_events_are_read_back() {
        let primed = sse_write::priming("s-1", Some(Duration::from_secs(3)));
        assert_eq!(
            decode([primed], 9),
            (vec![Item::Retry(Duration::from_secs(3)), event(None, Some("s-1"), "")], Some("s-1".into()))
        );
        assert_eq!(decode([sse_write::KEEP_ALIVE, sse_write::comment("x\ny")], 9).0, []);
        let forged = sse_write::event(Some("1\ndata: x"), None, b"y");
        assert_eq!(decode([forged], 9).0, [event(None, Some("1 data: x"), "y")]);
    }
}
