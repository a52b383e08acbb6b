//! Server-sent events, written.

use bytes::{BufMut as _, Bytes, BytesMut};
use std::time::Duration;

/// A comment that keeps intermediaries from closing a quiet stream.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// A whole event. Line breaks in `data` split it over several lines, which a reader joins again.
pub fn event(id: Option<&str>, name: Option<&str>, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(head_len(id, name) + data.len() + 8);
    put_head(&mut out, id, name);
    put_data(&mut out, data, &mut false);
    out.put_slice(b"\n\n");
    out.freeze()
}

/// The event that opens a stream which can be resumed: an id, no data, and how long to wait before reconnecting.
pub fn priming(id: &str, retry: Option<Duration>) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + id.len());
    put_field(&mut out, "id", id);
    if let Some(retry) = retry {
        put_field(&mut out, "retry", &retry.as_millis().to_string());
    }
    out.put_slice(b"data:\n\n");
    out.freeze()
}

/// Only the advice how long to wait before reconnecting.
pub fn retry(wait: Duration) -> Bytes {
    format!("retry: {}\n\n", wait.as_millis()).into()
}

/// A comment.
pub fn comment(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 4);
    put_field(&mut out, "", text);
    out.put_slice(b"\n");
    out.freeze()
}

/// Writes one event piece by piece, for data that is not held as a whole.
#[derive(Debug, Default)]
pub struct EventWriter {
    after_cr: bool,
}

impl EventWriter {
    /// Begins an event; what to send first.
    pub fn begin(id: Option<&str>, name: Option<&str>) -> (Self, Bytes) {
        let mut out = BytesMut::with_capacity(head_len(id, name) + 6);
        put_head(&mut out, id, name);
        (Self::default(), out.freeze())
    }

    /// A piece of the data, as it is to be sent: itself, unless there are line breaks in it.
    pub fn piece(&mut self, data: Bytes) -> Bytes {
        if data.is_empty() || (!self.after_cr && memchr::memchr2(b'\r', b'\n', &data).is_none()) {
            return data;
        }
        let mut out = BytesMut::with_capacity(data.len() + 64);
        put_data(&mut out, &data, &mut self.after_cr);
        out.freeze()
    }

    /// What ends the event.
    pub fn end(self) -> Bytes {
        Bytes::from_static(b"\n\n")
    }
}

fn head_len(id: Option<&str>, name: Option<&str>) -> usize {
    "data: ".len()
        + id.map_or(0, |id| "id: \n".len() + id.len())
        + name.map_or(0, |name| "event: \n".len() + name.len())
}

fn put_head(out: &mut BytesMut, id: Option<&str>, name: Option<&str>) {
    if let Some(name) = name {
        put_field(out, "event", name);
    }
    if let Some(id) = id {
        put_field(out, "id", id);
    }
    out.put_slice(b"data: ");
}

/// A field of one line. A line break in it would forge another field, so it becomes a space.
fn put_field(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.extend(value.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.put_u8(b'\n');
}

/// Data with its line breaks (CR, LF or CRLF, also one that began in the piece before) turned into new data lines.
fn put_data(out: &mut BytesMut, mut data: &[u8], after_cr: &mut bool) {
    if std::mem::take(after_cr) && data.first() == Some(&b'\n') {
        data = &data[1..];
    }
    while let Some(at) = memchr::memchr2(b'\r', b'\n', data) {
        out.put_slice(&data[..at]);
        out.put_slice(b"\ndata: ");
        let pair = data[at..].starts_with(b"\r\n");
        *after_cr = data[at] == b'\r' && at + 1 == data.len();
        data = &data[at + 1 + usize::from(pair)..];
    }
    out.put_slice(data);
}
