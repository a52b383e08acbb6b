//! What happens to a connection beyond the limit.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections that are being turned away at a time; beyond it they are just closed.
pub(crate) const TURNED_AWAY_AT_ONCE: usize = 64;

/// What a client is told that comes when all connections are taken.
const AT_THE_LIMIT: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// Most of what a refused client has sent is read before its connection is closed, since closing on unread bytes resets
/// the connection and loses the answer. In bytes.
const LINGER_BYTES: u64 = 64 * 1024;

/// Answers 503 to a connection over the limit and closes it.
pub(crate) async fn turn_away(mut stream: TcpStream) {
    let farewell = async {
        stream.write_all(AT_THE_LIMIT).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // It has a second: whoever is slower is part of the problem.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), farewell).await;
}
