//! A client whose connections carry nothing out unless this replica leads.

use super::Leadership;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

/// For a connection to the API server.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Makes the client that the operator writes with.
pub(in crate::operator) fn fenced(config: &Config, leadership: &Arc<Leadership>) -> kube::Result<Client> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_WITHIN));
    http.set_nodelay(true);
    let connector = FencedConnector { http, leadership: Arc::clone(leadership) };
    let https = config.rustls_https_connector_with_connector(connector)?;
    let client: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(client)
        .boxed();
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Connects, and fences what comes of it.
#[derive(Clone)]
struct FencedConnector {
    http: HttpConnector,
    leadership: Arc<Leadership>,
}

impl Service<Uri> for FencedConnector {
    type Response = Fenced<<HttpConnector as Service<Uri>>::Response>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, leadership) = (self.http.call(uri), Arc::clone(&self.leadership));
        Box::pin(async move { Ok(Fenced { io: connecting.await?, leadership }) })
    }
}

/// A connection below TLS: the last place before the operating system.
struct Fenced<T> {
    io: T,
    leadership: Arc<Leadership>,
}

impl<T> Fenced<T> {
    fn check(&self) -> io::Result<()> {
        if self.leadership.leads() {
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::PermissionDenied, "this replica does not lead"))
    }
}

impl<T: Read + Unpin> Read for Fenced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Fenced<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<T: Connection> Connection for Fenced<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    #[tokio::test]
    async fn nothing_goes_out_unless_this_replica_leads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(parking_lot::Mutex::new(Vec::<u8>::new()));
        let seen = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(read) = stream.read(&mut buffer).await
                        && read > 0
                    {
                        seen.lock().extend_from_slice(&buffer[..read]);
                        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
                        let head = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                    }
                });
            }
        });
        let leadership = Arc::new(Leadership::default());
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let api: Api<ConfigMap> = Api::namespaced(fenced(&config, &leadership).unwrap(), "team");
        let refused = api.get("a").await.unwrap_err();
        assert!(format!("{refused:?}").contains("does not lead"), "{refused:?}");
        assert!(received.lock().is_empty());

        leadership.extend(Instant::now());
        api.get("a").await.unwrap();
        assert!(received.lock().starts_with(b"GET /api/v1/namespaces/team/configmaps/a"));

        // An open connection is no way around it.
        received.lock().clear();
        leadership.end();
        api.get("a").await.unwrap_err();
        assert!(received.lock().is_empty());
    }
}
