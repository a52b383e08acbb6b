//! The way from a child to one waiting HTTP answer: a queue bounded in messages and in bytes.

use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages that wait for a slow reader.
pub(super) const QUEUE_MESSAGES: usize = 64;

/// Bytes that wait for a slow reader: one message of the largest size (16 MiB).
const QUEUE_BYTES: u32 = 16 * 1024 * 1024;

/// One message on its way to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A request or notification; more may follow.
    More(Bytes),
    /// The response; nothing follows.
    Last(Bytes),
}

impl Said {
    fn len(&self) -> usize {
        match self {
            Self::More(bytes) | Self::Last(bytes) => bytes.len(),
        }
    }
}

struct Queued {
    said: Said,
    _space: OwnedSemaphorePermit,
}

/// The child's end.
#[derive(Clone)]
pub(super) struct Outlet {
    queue: mpsc::Sender<Queued>,
    space: Arc<Semaphore>,
}

/// The client's end.
pub(super) struct Inlet {
    queue: mpsc::Receiver<Queued>,
}

/// The reader did not take anything for too long.
pub(super) struct Stalled;

/// Both ends of a new queue.
pub(super) fn outlet() -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
    (Outlet { queue: sender, space: Arc::new(Semaphore::new(QUEUE_BYTES as usize)) }, Inlet { queue: receiver })
}

impl Outlet {
    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Hands a message over, and waits for room while the reader is slow, but no longer than `patience`. What nobody reads any
    /// more is dropped.
    pub(super) async fn send(&self, said: Said, patience: Duration) -> Result<(), Stalled> {
        let enqueue = async {
            // A message larger than the whole budget still passes, alone.
            let bytes = u32::try_from(said.len()).unwrap_or(QUEUE_BYTES).min(QUEUE_BYTES);
            if let Ok(space) = Arc::clone(&self.space).acquire_many_owned(bytes).await {
                // An error says that the reader is gone.
                let _ = self.queue.send(Queued { said, _space: space }).await;
            }
        };
        let reader_gone = self.queue.closed();
        tokio::select! {
            () = enqueue => Ok(()),
            () = reader_gone => Ok(()),
            () = tokio::time::sleep(patience) => Err(Stalled),
        }
    }
}

impl Inlet {
    /// The next message; `None` once the child's end is gone.
    pub(super) async fn next(&mut self) -> Option<Said> {
        self.queue.recv().await.map(|queued| queued.said)
    }

    /// The same, for a body.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Said>> {
        self.queue.poll_recv(context).map(|queued| queued.map(|queued| queued.said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_is_given_up_on_and_one_that_left_is_not_waited_for() {
        let (outlet, mut inlet) = outlet();
        let large = || Said::More(Bytes::from(vec![b'x'; QUEUE_BYTES as usize]));
        assert!(outlet.send(large(), Duration::from_secs(1)).await.is_ok());
        assert!(outlet.send(large(), Duration::from_secs(1)).await.is_err(), "one large message fills the queue");
        assert!(inlet.next().await.is_some());
        assert!(outlet.send(large(), Duration::from_secs(1)).await.is_ok(), "reading makes room");
        drop(inlet);
        assert!(outlet.is_closed());
        assert!(outlet.send(large(), Duration::from_secs(1)).await.is_ok());
    }
}
