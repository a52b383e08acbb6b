//! A child in use: requests go in, and a task routes what the child says to who it belongs to.

use super::ShimError;
use super::child::{Child, Exit};
use super::message::{self, Message};
use super::outlet::{Inlet, Said};
use super::routes::{Audience, ClientKey, Hears, Refusal, Routes, Step};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a child may live on after it closed its standard output; nothing can be heard of it any more.
const AFTER_STDOUT: Duration = Duration::from_secs(1);

/// How long a reader that takes nothing holds up its own child, and a child it shares with others.
const OWN_PATIENCE: Duration = Duration::from_secs(30);
const SHARED_PATIENCE: Duration = Duration::from_secs(2);

/// A process that is ready to be spoken to.
pub(super) struct Ready {
    pub(super) child: Child,
    pub(super) lines: mpsc::Receiver<Bytes>,
}

/// A child with its conversations. Dropping it ends the child.
pub(super) struct Link {
    /// Unique in the process.
    pub(super) number: u64,
    child: Child,
    routes: Arc<Mutex<Routes>>,
}

impl Link {
    pub(super) fn new(ready: Ready, audience: Audience, max_in_flight: usize, tasks: &TaskTracker) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Ready { child, lines } = ready;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let routes = Arc::new(Mutex::new(Routes::new(number, audience, max_in_flight)));
        let listener = Router {
            routes: Arc::clone(&routes),
            stdin: child.stdin(),
            exit: child.exit(),
            stop: child.stop_token().clone(),
            patience: match audience {
                Audience::Own | Audience::Once => OWN_PATIENCE,
                Audience::Shared | Audience::Modern => SHARED_PATIENCE,
            },
        };
        tasks.spawn(listener.run(lines));
        Arc::new(Self { number, child, routes })
    }

    /// Whether nothing can be asked of it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.child.is_ending() || self.routes.lock().is_dead()
    }

    /// How long the process has been running.
    pub(super) fn age(&self) -> Duration {
        self.child.age()
    }

    /// Begins the child's end.
    pub(super) fn stop(&self) {
        self.child.stop_token().cancel();
    }

    /// Lets a session use it.
    pub(super) fn attach(&self, client: ClientKey) {
        self.routes.lock().attach(client);
    }

    /// Ends a session's use of it.
    pub(super) fn detach(&self, client: ClientKey) {
        self.routes.lock().detach(client);
    }

    /// Opens a session's stream, beginning with what waited for it.
    pub(super) fn open_stream(&self, client: ClientKey) -> Result<(Inlet, Vec<Bytes>), Refusal> {
        self.routes.lock().open_stream(client)
    }

    /// Sends a request. The inlet ends with its answer, also when the child dies.
    pub(super) async fn request(
        &self,
        client: ClientKey,
        request: &Message,
        hears: Hears,
    ) -> Result<(u64, Inlet), Refusal> {
        let stdin = self.child.stdin();
        // Room first: if the caller gives up while waiting for it, nothing has been registered.
        let room = stdin.reserve().await.map_err(|_| Refusal::Dead)?;
        let (number, bytes, inlet) = self.routes.lock().request(client, request, hears)?;
        room.send(bytes);
        Ok((number, inlet))
    }

    /// Whether the child must hear that a session follows a resource no more.
    pub(super) fn unsubscribe(&self, client: ClientKey, request: &Message) -> bool {
        self.routes.lock().unsubscribe(client, request)
    }

    /// Sends a notification or an answer as it is.
    pub(super) async fn write(&self, bytes: Bytes) -> Result<(), Refusal> {
        self.child.stdin().send(bytes).await.map_err(|_| Refusal::Dead)
    }

    /// Sends a client's notification; one that cancels a request names it as the child knows it.
    pub(super) async fn notify(&self, client: ClientKey, note: &Message) -> Result<(), Refusal> {
        let bytes = match note.method.as_str() {
            "notifications/cancelled" => self.routes.lock().cancel(client, note),
            _ => Some(note.bytes.clone()),
        };
        match bytes {
            Some(bytes) => self.write(bytes).await,
            None => Ok(()),
        }
    }

    /// Sends a client's answer to the question `number` of the child. One that was not asked, or not of this client, goes
    /// nowhere.
    pub(super) async fn answer(&self, client: ClientKey, number: u64, answer: &Message) -> Result<(), Refusal> {
        let bytes = self.routes.lock().answer(client, number, answer);
        match bytes {
            Some(bytes) => self.write(bytes).await,
            None => Ok(()),
        }
    }

    /// Sends a request and waits for its answer alone.
    pub(super) async fn ask(
        &self,
        client: ClientKey,
        request: &Message,
        limit: Duration,
    ) -> Result<Message, ShimError> {
        let (_, mut inlet) = self.request(client, request, Hears::AnswerOnly).await?;
        let answer = tokio::time::timeout(limit, inlet.next()).await;
        match answer.map_err(|_| ShimError::HandshakeTimeout { limit })? {
            Some(Said::Last(answer)) => Message::decode(answer).map_err(|_| ShimError::Gone),
            Some(Said::More(_)) | None => Err(ShimError::Gone),
        }
    }

    /// Gives up a request whose reader has left, and tells the child so.
    pub(super) fn abandon(&self, number: u64) {
        if self.routes.lock().abandon(number) {
            let params = format!(r#"{{"requestId":{number},"reason":"the client disconnected"}}"#);
            let note = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#);
            if self.child.stdin().try_send(note.into()).is_err() {
                tracing::debug!("a child that does not read was not told of a cancelled request");
            }
        }
    }
}

/// The task that listens to the child.
struct Router {
    routes: Arc<Mutex<Routes>>,
    stdin: mpsc::Sender<Bytes>,
    exit: watch::Receiver<Option<Exit>>,
    stop: CancellationToken,
    patience: Duration,
}

impl Router {
    async fn run(mut self, mut lines: mpsc::Receiver<Bytes>) {
        while let Some(line) = lines.recv().await {
            match Message::decode(line) {
                Ok(message) => {
                    let steps = self.routes.lock().route(&message);
                    self.perform(steps).await;
                }
                Err(error) => tracing::debug!(%error, "child stdout is not JSON-RPC, skipped"),
            }
        }
        let exit = self.end().await;
        let steps = self.routes.lock().fail(&exit);
        self.perform(steps).await;
    }

    async fn perform(&self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Deliver(target, outlet, said) => {
                    if outlet.send(said, self.patience).await.is_err() {
                        tracing::debug!(?target, "a reader took nothing for too long and was cut off");
                        self.routes.lock().cut(target);
                    }
                }
                // Waiting for a child that does not read while it waits for us to read would never end.
                Step::Reply(bytes) => {
                    if self.stdin.try_send(bytes).is_err() {
                        tracing::debug!("a child that does not read got no reply");
                    }
                }
            }
        }
    }

    /// Waits for the process to end, which its closed output announces.
    async fn end(&mut self) -> Exit {
        if let Ok(exit) = tokio::time::timeout(AFTER_STDOUT, ended(&mut self.exit)).await {
            return exit;
        }
        let asked_to = self.stop.is_cancelled();
        self.stop.cancel();
        match ended(&mut self.exit).await {
            Exit::Stopped if !asked_to => Exit::Unreadable("it closed its standard output".to_owned()),
            exit => exit,
        }
    }
}

/// Waits until a child's end is announced. It always is, unless the runtime ends first.
async fn ended(exit: &mut watch::Receiver<Option<Exit>>) -> Exit {
    let exit = exit.wait_for(Option::is_some).await;
    exit.ok().and_then(|exit| exit.clone()).unwrap_or(Exit::Stopped)
}

/// The notification that ends a handshake.
pub(super) fn initialized() -> Bytes {
    Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
}

/// The answer that a request gets when its stream was cut.
pub(super) fn cut_off(id: Option<&str>) -> Bytes {
    let data = Some(r#"{"kind":"process_failed","retry":"if_idempotent"}"#);
    message::error(id, message::PROCESS_FAILED, "the server's answer was cut off: its session ended", data)
}
