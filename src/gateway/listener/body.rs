//! Reading a request's body, within a size and a time.

use crate::gateway::error::{GatewayError, Kind};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use std::pin::{Pin, pin};
use tokio::time::Instant;

/// Reads a body whole. A body that came in one piece, as small ones do, is not copied. One that says it is too large is
/// refused before it is read.
pub async fn read_body<B>(body: B, max_bytes: u64, deadline: Instant) -> Result<Bytes, GatewayError>
where
    B: Body<Data = Bytes>,
{
    let announced = body.size_hint();
    if announced.lower() > max_bytes {
        return Err(too_large(max_bytes));
    }
    match tokio::time::timeout_at(deadline, collect(body, max_bytes)).await {
        Ok(result) => result,
        Err(_) => Err(GatewayError::new(Kind::ReadTimeout, "the request's body did not arrive in time")),
    }
}

async fn collect<B>(body: B, max_bytes: u64) -> Result<Bytes, GatewayError>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let Some(first) = next_data(body.as_mut()).await? else { return Ok(Bytes::new()) };
    check(first.len(), max_bytes)?;
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = next_data(body.as_mut()).await? else { return Ok(first) };
    // What is still to come, as far as it is known; a chunked body grows the buffer as it comes.
    let more = usize::try_from(body.size_hint().lower().min(max_bytes)).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(first.len() + second.len() + more);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    check(whole.len(), max_bytes)?;
    while let Some(data) = next_data(body.as_mut()).await? {
        check(whole.len() + data.len(), max_bytes)?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// The next piece of the body that holds anything; trailers are read over.
async fn next_data<B>(mut body: Pin<&mut B>) -> Result<Option<Bytes>, GatewayError>
where
    B: Body<Data = Bytes>,
{
    loop {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => return Ok(None),
            // The client is most likely gone, so that this is for the log rather than for it.
            Some(Err(_)) => return Err(GatewayError::new(Kind::InvalidRequest, "the request's body ended early")),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
        }
    }
}

fn check(len: usize, max_bytes: u64) -> Result<(), GatewayError> {
    if len as u64 > max_bytes { Err(too_large(max_bytes)) } else { Ok(()) }
}

fn too_large(max_bytes: u64) -> GatewayError {
    GatewayError::new(Kind::BodyTooLarge, format!("the request's body is larger than {max_bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::{Frame, SizeHint};
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::{Context, Poll};
    use std::time::Duration;

    /// Pieces, and then nothing for ever if `stalls`.
    struct Pieces {
        frames: VecDeque<Frame<Bytes>>,
        stalls: bool,
        announced: Option<u64>,
    }

    fn pieces(data: &[&'static [u8]]) -> Pieces {
        let frames = data.iter().map(|piece| Frame::data(Bytes::from_static(piece))).collect();
        Pieces { frames, stalls: false, announced: None }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.frames.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None if self.stalls => Poll::Pending,
                None => Poll::Ready(None),
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.announced.map_or_else(SizeHint::new, SizeHint::with_exact)
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn one_piece_is_handed_on_as_it_is() {
        let piece = Bytes::from(vec![7; 100]);
        let body = Pieces { frames: [Frame::data(piece.clone())].into(), ..pieces(&[]) };
        let read = read_body(body, 100, soon()).await.unwrap();
        assert_eq!(read.as_ptr(), piece.as_ptr());
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_are_joined_and_the_limit_is_inclusive() {
        assert_eq!(read_body(pieces(&[]), 0, soon()).await.unwrap(), "");
        assert_eq!(read_body(pieces(&[b"ab", b"", b"cd", b"e"]), 5, soon()).await.unwrap(), "abcde");
        for body in [pieces(&[b"abcdef"]), pieces(&[b"abc", b"def"]), pieces(&[b"ab", b"cd", b"ef"])] {
            assert_eq!(read_body(body, 5, soon()).await.unwrap_err().kind, Kind::BodyTooLarge);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_announced_size_is_refused_unread() {
        let body = Pieces { stalls: true, announced: Some(6), ..pieces(&[]) };
        let before = Instant::now();
        assert_eq!(read_body(body, 5, soon()).await.unwrap_err().http_status(), 413);
        assert_eq!(Instant::now(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let body = Pieces { stalls: true, ..pieces(&[b"abc"]) };
        assert_eq!(read_body(body, 5, soon()).await.unwrap_err().http_status(), 408);
    }
}
