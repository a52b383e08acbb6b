//! Connections to a pod's port: few enough, and none that is slow.

use super::{Pod, pages};
use crate::net::clock::{Clock, ClockedBody, ClockedIo};
use crate::net::limit::{TURNED_AWAY_AT_ONCE, turn_away};
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time. Each call and each stream of a session holds one; a gateway keeps some more.
pub(super) const CONNECTIONS: usize = 4096;

/// The largest head of a request, in bytes: what gateways send is far below.
const HEADER_BYTES: usize = 32 * 1024;

/// Time for a request's head to come.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);

/// Wait after a failed accept: long enough for a connection to end and give its descriptor back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// All connections, and how they are told to end.
#[derive(Clone, Default)]
pub(super) struct Connections {
    open: TaskTracker,
    turned_away: TaskTracker,
    /// Finish what was begun, begin nothing new.
    graceful: CancellationToken,
    /// Close.
    now: CancellationToken,
}

impl Connections {
    /// Ends all of them, and leaves those that still write so long.
    pub(super) async fn finish(&self, last_answers: Duration) {
        self.graceful.cancel();
        self.open.close();
        let _ = tokio::time::timeout(last_answers, self.open.wait()).await;
        self.now.cancel();
        self.open.wait().await;
    }
}

/// Accepts connections until it is dropped.
pub(super) async fn accept(listener: TcpListener, pod: Arc<Pod>, connections: Connections) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        if connections.open.len() >= CONNECTIONS {
            pod.metrics.connections_refused.inc();
            if connections.turned_away.len() < TURNED_AWAY_AT_ONCE {
                connections.turned_away.spawn(turn_away(stream));
            }
            continue;
        }
        let serving = serve(stream, Arc::clone(&pod), connections.clone());
        connections.open.spawn(serving);
    }
}

async fn serve(stream: TcpStream, pod: Arc<Pod>, connections: Connections) {
    // Answers and events are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    pod.metrics.connections_open.inc();
    let _open = Open(&pod);
    let clock = Clock::new();
    let service = service_fn(|request| {
        clock.busy();
        let (pod, clock) = (&pod, &clock);
        async move {
            let mut reply = pages::answer(pod, request).await;
            if pod.readiness.is_leaving() {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(reply.map(|body| ClockedBody::new(body, Arc::clone(clock))))
        }
    });
    // No half-close: who closes its side while it waits has cancelled its request, and hyper then drops the answer.
    let connection = http1::Builder::new()
        .max_header_size(HEADER_BYTES)
        .max_buf_size(HEADER_BYTES)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(ClockedIo::new(stream, Arc::clone(&clock))), service);
    let mut connection = pin!(connection);
    let mut look = pin!(tokio::time::sleep(HEADERS_WITHIN));
    let mut ends = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection ended");
                }
                return;
            }
            () = look.as_mut() => match clock.check(HEADERS_WITHIN) {
                Some(next) => look.as_mut().reset(next),
                None => return,
            },
            () = connections.graceful.cancelled(), if !ends => {
                ends = true;
                connection.as_mut().graceful_shutdown();
            }
            () = connections.now.cancelled() => return,
        }
    }
}

/// Counts a connection for as long as it is open, however it ends.
struct Open<'a>(&'a Pod);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections_open.dec();
    }
}
