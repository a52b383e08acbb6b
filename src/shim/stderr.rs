//! What a child writes to its standard error: logged line by line, bounded in length and rate, with a short tail kept for
//! status. Secret values of the child's environment are blotted out of both.

use crate::ir::secrets::PrivateBytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

/// A longer line is cut, in bytes: enough for a stack trace's line, too little to flood a log.
const MAX_LINE: usize = 4 * 1024;

/// Lines of the tail, and bytes of each: what fits a status message.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 512;

/// Lines of one process that are logged at once, and per second from then on; the rest is counted.
const PROCESS: Rate = Rate { burst: 100, per_second: 20 };

/// The same of all processes of a server together: at 4 KiB a line, less than 1 MiB/s for the node's disk.
const SERVER: Rate = Rate { burst: 1000, per_second: 200 };

/// A shorter secret, or part of one, is not looked for: it would blot out ordinary words.
const MIN_SECRET: usize = 6;

/// The last lines a server wrote to standard error, over all its processes, and how many were not logged.
#[derive(Clone)]
pub(super) struct Tail(Arc<Kept>);

struct Kept {
    lines: Mutex<VecDeque<String>>,
    limiter: Mutex<Limiter>,
    dropped: AtomicU64,
}

impl Default for Tail {
    fn default() -> Self {
        let limiter = Mutex::new(Limiter::new(SERVER));
        Self(Arc::new(Kept { lines: Mutex::default(), limiter, dropped: AtomicU64::new(0) }))
    }
}

impl Tail {
    /// Keeps a line.
    pub(super) fn note(&self, redactor: &Redactor, line: &[u8]) {
        let line = line.trim_ascii_end();
        // A secret that straddles the cut must be seen whole to be found.
        let line = &line[..line.len().min(TAIL_LINE_BYTES + redactor.longest())];
        if !line.is_empty() {
            self.push(&redactor.redact(line));
        }
    }

    fn push(&self, line: &str) {
        let mut lines = self.0.lines.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(clip(line, TAIL_LINE_BYTES).to_owned());
    }

    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lines.lock().iter().cloned().collect()
    }

    /// Lines that were not logged.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// The line that tells most of why a server does not work: the last one that speaks of an error and is no frame of a stack, or
/// else the last one.
pub(super) fn telling(lines: &[String]) -> Option<&str> {
    let is_error =
        |line: &&String| line.to_ascii_lowercase().contains("error") && !line.trim_start().starts_with("at ");
    lines.iter().rev().find(is_error).or_else(|| lines.last()).map(|line| line.trim())
}

/// The secrets to blot out.
#[derive(Clone, Default)]
pub(super) struct Redactor(Arc<[PrivateBytes]>);

impl Redactor {
    /// Looks for each line of each secret, since the output is read line by line.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a PrivateBytes>) -> Self {
        let parts = secrets.flat_map(|secret| secret.expose().split(|byte| *byte == b'\n'));
        Self(parts.map(<[u8]>::trim_ascii).filter(|part| part.len() >= MIN_SECRET).map(PrivateBytes::new).collect())
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|secret| secret.expose().len()).max().unwrap_or(0)
    }

    fn redact(&self, line: &[u8]) -> String {
        let mut text = line.to_vec();
        for secret in self.0.iter() {
            while let Some(start) = memchr::memmem::find(&text, secret.expose()) {
                text.splice(start..start + secret.expose().len(), *b"****");
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Reads `source` to its end; never fails and never stops reading, so that the child never blocks on it.
pub(super) async fn drain(mut source: impl AsyncRead + Unpin, server: String, redactor: Redactor, tail: Tail) {
    // A secret that straddles the cut must be seen whole to be found.
    let mut lines = Clipper::new(MAX_LINE + redactor.longest());
    let (mut limiter, mut suppressed) = (Limiter::new(PROCESS), 0_u64);
    let mut chunk = [0; 4096];
    loop {
        let read = source.read(&mut chunk).await.unwrap_or(0);
        let mut record = |line: &[u8]| {
            let line = redactor.redact(line);
            let line = clip(&line, MAX_LINE);
            tail.push(line);
            if limiter.take() && tail.0.limiter.lock().take() {
                tracing::info!(server, suppressed, line, "child stderr");
                suppressed = 0;
            } else {
                suppressed += 1;
                tail.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
        };
        if read == 0 {
            lines.finish(record);
            if suppressed > 0 {
                tracing::info!(server, suppressed, "child stderr: its last lines were too many to be logged");
            }
            return;
        }
        lines.push(&chunk[..read], &mut record);
    }
}

/// The longest start of `text` of at most `max` bytes that ends between characters.
fn clip(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts a byte stream into lines and drops what a line has beyond the limit.
struct Clipper {
    line: Vec<u8>,
    limit: usize,
}

impl Clipper {
    fn new(limit: usize) -> Self {
        Self { line: Vec::new(), limit }
    }

    fn push(&mut self, chunk: &[u8], mut record: impl FnMut(&[u8])) {
        let mut parts = chunk.split(|byte| *byte == b'\n');
        if let Some(rest_of_line) = parts.next() {
            self.extend(rest_of_line);
        }
        for part in parts {
            self.finish(&mut record);
            self.extend(part);
        }
    }

    fn extend(&mut self, part: &[u8]) {
        let room = self.limit - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn finish(&mut self, mut record: impl FnMut(&[u8])) {
        if !self.line.trim_ascii().is_empty() {
            record(self.line.trim_ascii_end());
        }
        self.line.clear();
    }
}

/// How many lines are logged.
#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// A token bucket over lines.
struct Limiter {
    rate: Rate,
    tokens: u32,
    refilled: Instant,
}

impl Limiter {
    fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, refilled: Instant::now() }
    }

    /// Whether a line is admitted.
    fn take(&mut self) -> bool {
        let Rate { burst, per_second } = self.rate;
        let interval = Duration::from_secs(1) / per_second;
        let earned = u32::try_from(self.refilled.elapsed().as_nanos() / interval.as_nanos()).unwrap_or(burst);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(burst);
            self.refilled = Instant::now();
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail_of(text: &[u8], secrets: &[&str]) -> Vec<String> {
        let secrets: Vec<_> = secrets.iter().map(|secret| PrivateBytes::new(*secret)).collect();
        let tail = Tail::default();
        drain(text, "test".to_owned(), Redactor::new(secrets.iter()), tail.clone()).await;
        tail.lines()
    }

    #[test]
    fn the_line_that_tells_most_is_the_error() {
        let telling =
            |text: &str| super::telling(&text.lines().map(str::to_owned).collect::<Vec<_>>()).map(str::to_owned);
        let node = "node:internal/modules:1\n  throw err;\n\nError: Cannot find module '/app/x.js'\n    at Module._error (node:1)\n{\n}\n\nNode.js v22";
        assert_eq!(telling(node).as_deref(), Some("Error: Cannot find module '/app/x.js'"));
        assert_eq!(telling("a\nlistening on port 3000").as_deref(), Some("listening on port 3000"));
        assert_eq!(telling(""), None);
    }

    #[tokio::test]
    async fn keeps_the_last_lines_only() {
        let text = (0..1000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let tail = tail_of(text.as_bytes(), &[]).await;
        assert_eq!((tail.len(), tail[0].as_str(), tail[19].as_str()), (20, "line 980", "line 999"));
    }

    #[tokio::test]
    async fn cuts_long_lines_between_characters() {
        let text = format!("{}\nnext", "é".repeat(100_000));
        let tail = tail_of(text.as_bytes(), &[]).await;
        assert_eq!(tail.len(), 2);
        assert!(tail[0].len() <= TAIL_LINE_BYTES && tail[0].chars().all(|c| c == 'é'));
    }

    #[tokio::test]
    async fn blots_out_secrets_even_across_the_cut() {
        let text = format!("token=hunter2-secret\n{}hunter2-secret\nsecond-line", "x".repeat(TAIL_LINE_BYTES - 4));
        let tail = tail_of(text.as_bytes(), &["hunter2-secret", "first-line\nsecond-line\nshort"]).await;
        assert_eq!(tail[0], "token=****");
        assert!(!tail[1].contains("hun"), "{}", tail[1]);
        assert_eq!(tail[2], "****");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_at_a_bounded_rate() {
        let mut limiter = Limiter::new(PROCESS);
        assert_eq!((0..1000).filter(|_| limiter.take()).count(), PROCESS.burst as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..1000).filter(|_| limiter.take()).count(), PROCESS.per_second as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_left_out_are_counted_also_over_many_processes() {
        let (tail, text) = (Tail::default(), "line\n".repeat(150));
        let one = || drain(text.as_bytes(), "test".to_owned(), Redactor::default(), tail.clone());
        one().await;
        assert_eq!(tail.dropped(), 50, "one process has its burst");
        for _ in 0..11 {
            one().await;
        }
        assert_eq!(tail.dropped(), 12 * 150 - u64::from(SERVER.burst), "all together have theirs");
    }
}
