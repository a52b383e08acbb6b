use super::*;

async fn next(reader: &mut LogReader) -> Option<String> {
    poll_fn(|context| reader.poll_frame(context)).await.map(|frame| String::from_utf8(frame.to_vec()).unwrap())
}

#[tokio::test]
async fn a_reader_goes_on_after_the_last_event_it_saw() {
    let log = EventLog::new(7);
    let mut reader = log.read();
    for message in ["a", "b", "c"] {
        log.offer(message.as_bytes());
    }
    assert!(next(&mut reader).await.unwrap().contains("id: 7-1"));
    drop(reader);
    let mut reader = log.read_after(1).unwrap();
    assert!(next(&mut reader).await.unwrap().contains("data: b"));
    log.finish();
    assert!(next(&mut reader).await.unwrap().contains("data: c"));
    assert_eq!(next(&mut reader).await, None);
    assert!(log.read_after(9).is_none(), "an event from the future");
}

#[tokio::test]
async fn a_new_reader_ends_the_old_one() {
    let log = EventLog::new(1);
    let mut old = log.read();
    let mut new = log.read();
    log.offer(b"x");
    assert_eq!(next(&mut old).await, None);
    drop(old);
    assert!(log.has_reader());
    assert!(next(&mut new).await.is_some());
}

#[tokio::test]
async fn a_writer_waits_for_a_slow_reader() {
    let log = EventLog::new(1);
    let mut reader = log.read();
    let big = vec![b'x'; UNREAD_BYTES];
    log.write(&big).await;
    let mut second = Box::pin(log.write(b"y"));
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(next(&mut reader).await.is_some());
    second.await;
    assert!(next(&mut reader).await.unwrap().contains("data: y"));
}

#[tokio::test]
async fn without_a_reader_the_oldest_events_go_and_memory_stays_bounded() {
    let log = EventLog::new(1);
    let message = vec![b'x'; 64 * 1024];
    for _ in 0..100 {
        log.write(&message).await;
    }
    assert!(log.state.lock().bytes <= UNREAD_BYTES + message.len() + 64);
    assert!(log.read_after(1).is_none(), "events after the first are gone");
    assert!(log.read_after(99).is_some());
}

#[tokio::test]
async fn pieces_of_a_large_event_are_not_read_twice() {
    let log = EventLog::new(1);
    let mut reader = log.read();
    log.write_once(Bytes::from_static(b"data: {")).await;
    log.write_once(Bytes::from_static(b"}\n\n")).await;
    assert_eq!(next(&mut reader).await.as_deref(), Some("data: {"));
    drop(reader);
    log.offer(b"whole");
    let mut reader = log.read();
    assert!(next(&mut reader).await.unwrap().contains("data: whole"));
}

#[tokio::test]
async fn a_writer_learns_that_pieces_were_lost_with_their_reader() {
    let log = EventLog::new(1);
    let mut reader = log.read();
    log.write_once(Bytes::from_static(b"data: {")).await;
    assert!(next(&mut reader).await.is_some());
    assert!(log.pieces_read().await);
    log.write_once(Bytes::from_static(b"}\n\n")).await;
    drop(reader);
    assert!(!log.pieces_read().await);
}

#[tokio::test]
async fn a_stream_goes_on_elsewhere_where_it_was_left() {
    let log = EventLog::new(7);
    let mut reader = log.read();
    for message in ["a", "b", "c"] {
        log.offer(message.as_bytes());
    }
    next(&mut reader).await.unwrap();
    let (state, mut late) = log.depart().unwrap();
    assert_eq!(next(&mut reader).await, None, "the reader comes back there");
    log.offer(b"d");
    let state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    let there = EventLog::restore(state);
    there.offer(&late.try_recv().unwrap());
    let mut rest = there.read();
    for expected in ["id: 7-2", "id: 7-3", "id: 7-4"] {
        assert!(next(&mut rest).await.unwrap().contains(expected), "unread events come first");
    }
    let mut again = there.read_after(1).unwrap();
    assert!(next(&mut again).await.unwrap().contains("data: b"), "and read ones can be read again");
}

#[tokio::test]
async fn a_stream_that_nobody_took_has_lost_nothing() {
    let log = EventLog::new(0);
    log.offer(b"a");
    let (_, late) = log.depart().unwrap();
    log.offer(b"b");
    log.stay(late);
    log.offer(b"c");
    let mut reader = log.read();
    for expected in ["data: a", "data: b", "data: c"] {
        assert!(next(&mut reader).await.unwrap().contains(expected));
    }
}

#[test]
fn event_ids_are_parsed_strictly() {
    assert_eq!(parse_event_id("3-14"), Some((3, 14)));
    for id in ["", "3", "-1", "3-", "x-1", "3-1-2"] {
        assert_eq!(parse_event_id(id), None, "{id}");
    }
}
