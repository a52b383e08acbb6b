//! The yardstick: a reverse proxy on hyper that streams bodies, keeps connections, and knows nothing of MCP.
//!
//! It is meant to be hard to beat: connections are handed back as soon as an answer ends, the pool is one short critical
//! section, and nothing is copied, logged or counted.

use crate::Result;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};

/// Headers that speak about one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Sender = client::SendRequest<Incoming>;

/// Idle connections to the one upstream; the one used last is the warmest.
struct Pool {
    to: SocketAddr,
    idle: Mutex<Vec<Sender>>,
}

impl Pool {
    async fn connection(&self) -> Result<Sender> {
        while let Some(mut sender) = self.pop() {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async { drop(connection.await) });
        sender.ready().await?;
        Ok(sender)
    }

    fn pop(&self) -> Option<Sender> {
        self.idle.lock().pop()
    }
}

/// An answer's body that gives its connection back at its end.
struct Relayed {
    body: Incoming,
    pool: Arc<Pool>,
    sender: Option<Sender>,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Relayed {
    fn give_back(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.idle.lock().push(sender);
        }
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, to: SocketAddr) -> Result<()> {
    let pool = Arc::new(Pool { to, idle: Mutex::new(Vec::new()) });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = Arc::clone(&pool);
        let service = service_fn(move |request| relay(Arc::clone(&pool), request));
        let connection =
            server::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async { drop(connection.await) });
    }
}

async fn relay(
    pool: Arc<Pool>,
    mut request: Request<Incoming>,
) -> std::result::Result<Response<Either<Relayed, Empty<Bytes>>>, hyper::Error> {
    remove_hop_by_hop(request.headers_mut());
    let Ok(mut sender) = pool.connection().await else {
        let mut refusal = Response::new(Either::Right(Empty::new()));
        *refusal.status_mut() = http::StatusCode::BAD_GATEWAY;
        return Ok(refusal);
    };
    let mut response = sender.send_request(request).await?;
    remove_hop_by_hop(response.headers_mut());
    Ok(response.map(|body| {
        let mut body = Relayed { body, pool, sender: Some(sender) };
        if body.is_end_stream() {
            body.give_back();
        }
        Either::Left(body)
    }))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
