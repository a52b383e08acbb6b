//! HTTP/1.1 as bytes: what is sent is sent as it is, malformed or not.

use super::within;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The messages of the answer: its one JSON document, or the data of its events.
    pub fn messages(&self) -> Vec<Value> {
        match self.header("content-type") {
            Some(kind) if kind.starts_with("text/event-stream") => events(&self.text()),
            _ => vec![self.json()],
        }
    }
}

/// The data of all events in a text that are messages.
fn events(text: &str) -> Vec<Value> {
    let data = |block: &str| -> String { block.lines().filter_map(|line| line.strip_prefix("data:")).collect() };
    text.split("\n\n").map(data).filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
}

/// Anything that can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection, with what was read beyond the last answer.
pub struct Connection {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Box::new(stream), read: Vec::new() })
    }

    /// Opens a TLS connection to a server with this one trusted certificate, in DER.
    pub async fn open_tls(address: SocketAddr, trusted: &[u8], name: &str) -> io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(trusted.to_vec())).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await?;
        Ok(Self { stream: Box::new(stream), read: Vec::new() })
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Sends, and reads the answer.
    pub async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<Answer> {
        self.send(bytes).await?;
        self.answer().await
    }

    /// Reads a whole answer.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        within("an answer comes", async {
            let mut answer = self.head().await?;
            if answer.header("transfer-encoding") == Some("chunked") {
                while let Some(chunk) = self.chunk().await? {
                    answer.body.extend(chunk);
                }
            } else if let Some(length) = answer.header("content-length") {
                let length = length.parse().unwrap();
                self.fill(length).await?;
                answer.body = self.read.drain(..length).collect();
            } else if answer.status != 204 && answer.status != 202 {
                while self.more().await? {}
                answer.body = std::mem::take(&mut self.read);
            }
            Ok(answer)
        })
        .await
    }

    /// Reads an answer's status and headers.
    pub async fn head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end;
            }
            if !self.more().await? {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before an answer"));
            }
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                break self.read.drain(..end + 2).collect::<Vec<u8>>();
            }
            if !self.more().await? {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within a chunked body"));
            }
        };
        let size = std::str::from_utf8(&line).unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        self.fill(size + 2).await?;
        let mut chunk: Vec<u8> = self.read.drain(..size + 2).collect();
        chunk.truncate(size);
        Ok(if size == 0 { None } else { Some(chunk) })
    }

    /// The messages of an event stream as they come, after [`head`](Self::head): the next one that is no comment.
    pub async fn event(&mut self, pending: &mut String) -> io::Result<Option<Value>> {
        loop {
            while let Some((block, rest)) = pending.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
                *pending = rest;
                if let Some(message) = events(&format!("{block}\n\n")).pop() {
                    return Ok(Some(message));
                }
            }
            match self.chunk().await? {
                Some(chunk) => pending.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return Ok(None),
            }
        }
    }

    /// Waits until the other side closes, and gives what it said before.
    pub async fn closed(&mut self) -> Vec<u8> {
        within("the connection is closed", async {
            while self.more().await.unwrap_or(false) {}
            std::mem::take(&mut self.read)
        })
        .await
    }

    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.read.len() < length {
            if !self.more().await? {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within a body"));
            }
        }
        Ok(())
    }

    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.read).await? > 0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// One GET.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    Connection::open(address).await.unwrap().exchange(request).await.unwrap()
}

/// The bytes of a POST with these headers and this body.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (lines, length) = (lines.concat(), body.len());
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{lines}\r\n");
    [head.as_bytes(), body].concat()
}
