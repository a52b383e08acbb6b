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
