//! The stdio transport's framing: one JSON-RPC message per line.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a buffer starts with, in bytes: an answer of a few KiB then needs one read.
const INITIAL_BUFFER: usize = 8 * 1024;

/// A buffer that grew beyond this (for one large line) is given back once it is empty, in bytes.
const KEPT_BUFFER: usize = 256 * 1024;

/// Why no more lines come.
#[derive(Debug, thiserror::Error)]
pub(super) enum FramingError {
    /// The bound keeps one child from taking all memory.
    #[error("a line is longer than {limit} bytes")]
    LineTooLong {
        /// The longest line that is read.
        limit: usize,
    },
    /// The pipe broke.
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Splits a byte stream into lines of bounded length.
pub(super) struct Lines<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(source: R, limit: usize) -> Self {
        Self { source, buffer: BytesMut::with_capacity(INITIAL_BUFFER), searched: 0, limit }
    }

    /// The next line that is not blank, without its line end; `None` at the end of the stream. What follows the last line
    /// end counts as a line.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FramingError> {
        loop {
            while let Some(line) = self.take_line()? {
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BUFFER {
                self.buffer = BytesMut::with_capacity(INITIAL_BUFFER);
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            // One byte more than the limit may be the carriage return of a line that just fits.
            return if self.searched > self.limit + 1 { Err(self.too_long()) } else { Ok(None) };
        };
        let mut line = self.buffer.split_to(self.searched + found + 1);
        self.searched = 0;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit { Err(self.too_long()) } else { Ok(Some(line.freeze())) }
    }

    fn too_long(&self) -> FramingError {
        FramingError::LineTooLong { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn read_all(mut lines: Lines<impl AsyncRead + Unpin>) -> Result<Vec<Bytes>, FramingError> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().await? {
            all.push(line);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn skips_blank_lines_and_keeps_an_unfinished_last_one() {
        let lines = Lines::new(&b"{\"a\":1}\r\n\n  \n{}\nlast"[..], 100);
        assert_eq!(read_all(lines).await.unwrap(), ["{\"a\":1}", "{}", "last"]);
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
        let fits = format!("{}\r\n", "x".repeat(10));
        assert_eq!(read_all(Lines::new(fits.as_bytes(), 10)).await.unwrap().len(), 1);
        let long = format!("{}\n", "x".repeat(11));
        assert!(matches!(
            read_all(Lines::new(long.as_bytes(), 10)).await,
            Err(FramingError::LineTooLong { limit: 10 })
        ));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_given_up_on_before_it_fills_memory() {
        let mut lines = Lines::new(tokio::io::repeat(b'x'), 64 * 1024);
        assert!(matches!(lines.next().await, Err(FramingError::LineTooLong { .. })));
        assert!(lines.buffer.capacity() <= 4 * 64 * 1024, "{}", lines.buffer.capacity());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(lines in prop::collection::vec("[a-z]{1,40}", 0..20), chunk in 1usize..17) {
            let text = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
            let source = Parts(text.as_bytes().chunks(chunk).map(<[u8]>::to_vec).collect());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read_all(Lines::new(source, 100))).unwrap();
            prop_assert_eq!(read, lines);
        }
    }

    /// A reader that returns one part per read.
    struct Parts(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Parts {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some(part) = self.0.pop_front() {
                buffer.put_slice(&part);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }
}
