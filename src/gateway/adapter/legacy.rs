//! A legacy client in front of legacy servers: sessions on both sides.
//!
//! Each server has a session of its own for each client session, opened with the client's own `initialize` parameters; so
//! ids, progress tokens and cursors of calls pass through as they are, and most bodies do, too.

use super::reply::{Reply, is_result};
use crate::gateway::HOLD_BYTES;
use crate::gateway::catalog::{Catalog, ListKind};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::Envelope;
use crate::gateway::mcp::json::{Object, Value};
use crate::gateway::mcp::message;
use crate::gateway::mcp::splice::{Edits, json_string};
use crate::gateway::mcp::version::Era;
use crate::gateway::metrics::RequestTimer;
use crate::gateway::session::inbound;
use crate::gateway::session::live::{CallGuard, Session};
use crate::gateway::state::{RouteState, ServerState, edited};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::Instant;

/// A request of a legacy client within its session.
pub(crate) struct LegacyRequest<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) route: &'a Arc<RouteState>,
    pub(crate) body: &'a Bytes,
    pub(crate) envelope: &'a Envelope<'a>,
    /// The request's id, as JSON text.
    pub(crate) id: &'a str,
    /// Learns which server it is for.
    pub(crate) timer: &'a RequestTimer,
}

/// What came of a request.
pub(crate) struct Handled {
    pub(crate) reply: Reply,
    /// The server that answered; absent for what the gateway answers itself.
    pub(crate) from: Option<From>,
}

/// Whose answer it is, and until when it may take.
pub(crate) struct From {
    pub(crate) call: CallGuard,
    pub(crate) server: Arc<str>,
    pub(crate) deadline: Instant,
}

impl Handled {
    fn own(id: &str, result: &str) -> Self {
        Self { reply: Reply::Message(message::result(id, result)), from: None }
    }
}

impl LegacyRequest<'_> {
    /// Answers the request, by itself or by a server.
    pub(crate) async fn handle(&self) -> Result<Handled, GatewayError> {
        match self.envelope.method() {
            "tools/call" => self.call_tool().await,
            "prompts/get" => self.get_prompt().await,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => self.resource().await,
            "tools/list" => self.list(ListKind::Tools).await,
            "prompts/list" => self.list(ListKind::Prompts).await,
            "resources/list" => self.list(ListKind::Resources).await,
            "resources/templates/list" => self.list(ListKind::Templates).await,
            "completion/complete" => self.complete().await,
            "ping" => Ok(Handled::own(self.id, "{}")),
            "logging/setLevel" => self.set_log_level().await,
            "tasks/get" | "tasks/result" | "tasks/cancel" => self.task().await,
            "tasks/list" => self.list_tasks().await,
            _ => self.other().await,
        }
    }

    async fn catalog(&self) -> Arc<Catalog> {
        let catalog = self.route.catalogs.get(Era::Legacy, self.session.hello().catalog_key);
        catalog.fill_from_session(self.session, self.route, self.timer.trace()).await;
        catalog
    }

    async fn list(&self, kind: ListKind) -> Result<Handled, GatewayError> {
        let catalog = self.catalog().await;
        catalog.retry_missing_from_session(self.session, self.route);
        let cursor = self.envelope.params().and_then(|params| params.get_str("cursor").map(Cow::into_owned));
        let page = catalog.view().page(kind, cursor.as_deref(), Era::Legacy)?;
        Ok(Handled { reply: Reply::Message(message::result(self.id, &page)), from: None })
    }

    async fn call_tool(&self) -> Result<Handled, GatewayError> {
        let params = params(self.envelope)?;
        let name = named(&params, "name")?;
        let catalog = self.catalog().await;
        let view = catalog.view();
        let Some(target) = view.tool(&name) else {
            catalog.retry_missing_from_session(self.session, self.route);
            return Err(catalog.not_found(Kind::ToolNotFound, "tool", &name));
        };
        let body = self.with_name(&params, &name, target.own_name)?;
        let is_task = params.get_object("task").is_some();
        let handled = self.forward(target.server, body).await?;
        if is_task { self.note_task(handled).await } else { Ok(handled) }
    }

    async fn get_prompt(&self) -> Result<Handled, GatewayError> {
        let params = params(self.envelope)?;
        let name = named(&params, "name")?;
        let catalog = self.catalog().await;
        let view = catalog.view();
        let Some(target) = view.prompt(&name) else {
            catalog.retry_missing_from_session(self.session, self.route);
            return Err(catalog.not_found(Kind::PromptNotFound, "prompt", &name));
        };
        let body = self.with_name(&params, &name, target.own_name)?;
        self.forward(target.server, body).await
    }

    async fn resource(&self) -> Result<Handled, GatewayError> {
        let params = params(self.envelope)?;
        let uri = named(&params, "uri")?;
        let catalog = self.catalog().await;
        let candidates = catalog.view().servers_for_uri(&uri);
        let handled =
            self.first_to_accept(&candidates, || catalog.not_found(Kind::ResourceNotFound, "resource", &uri)).await?;
        if let (Reply::Message(message), Some(from)) = (&handled.reply, &handled.from)
            && is_result(message)
        {
            match self.envelope.method() {
                "resources/subscribe" => self.session.subscribe(&uri, &from.server),
                "resources/unsubscribe" => self.session.unsubscribe(&uri),
                _ => {}
            }
        }
        Ok(handled)
    }

    /// Asks servers one after the other until one answers with a result.
    async fn first_to_accept(
        &self,
        servers: &[usize],
        nobody: impl Fn() -> GatewayError,
    ) -> Result<Handled, GatewayError> {
        let Some((last, others)) = servers.split_last() else { return Err(nobody()) };
        for &server in others {
            let Ok(handled) = self.forward(server, self.body.clone()).await else { continue };
            if matches!(handled.reply, Reply::Large(..)) {
                return Ok(handled);
            }
            if let Ok((message, from)) = self.whole(handled).await
                && is_result(&message)
            {
                return Ok(Handled { reply: Reply::Message(message), from });
            }
        }
        self.forward(*last, self.body.clone()).await
    }

    async fn complete(&self) -> Result<Handled, GatewayError> {
        let params = params(self.envelope)?;
        let reference = object(&params, "ref")?;
        let catalog = self.catalog().await;
        let view = catalog.view();
        if let Some(uri) = reference.get_str("uri") {
            let candidates = view.servers_for_template(&uri);
            return self
                .first_to_accept(&candidates, || catalog.not_found(Kind::ResourceNotFound, "resource template", &uri))
                .await;
        }
        let name = named(&reference, "name")?;
        let Some(target) = view.prompt(&name) else {
            return Err(catalog.not_found(Kind::PromptNotFound, "prompt", &name));
        };
        let body = self.with_name(&reference, &name, target.own_name)?;
        self.forward(target.server, body).await
    }

    /// Every server that logs hears the level; servers opened later are told when they are opened.
    async fn set_log_level(&self) -> Result<Handled, GatewayError> {
        let params = params(self.envelope)?;
        named(&params, "level")?;
        self.session.set_log_level(params.text().to_owned());
        let catalog = self.catalog().await;
        let logging = catalog.view().servers_with("logging");
        let mut result = Handled::own(self.id, "{}");
        for server in logging {
            let Some(state) = self.route.servers.get(server) else { continue };
            if self.session.binding(&state.spec.name).peek().is_none() {
                continue;
            }
            // A server's refusal of the level is the client's to hear.
            let (message, _) = self.whole(self.forward(server, self.body.clone()).await?).await?;
            if !is_result(&message) {
                result = Handled { reply: Reply::Message(message), from: None };
            }
        }
        Ok(result)
    }

    async fn other(&self) -> Result<Handled, GatewayError> {
        if let [_only] = self.route.servers.as_slice() {
            return self.forward(0, self.body.clone()).await;
        }
        Err(GatewayError::new(Kind::MethodNotFound, format!("method {} is not known here", self.envelope.method())))
    }

    // --- tasks of 2025-11-25: the server that made one is remembered ---

    async fn task(&self) -> Result<Handled, GatewayError> {
        let params = params(self.envelope)?;
        let task = named(&params, "taskId")?;
        let known = self.session.server_of_task(&task).and_then(|name| self.route.server(&name));
        let candidates = match known {
            Some(server) => vec![server],
            None => self.catalog().await.view().servers_with("tasks"),
        };
        let unknown = || GatewayError::new(Kind::TaskNotFound, format!("no server knows task {task}"));
        self.first_to_accept(&candidates, unknown).await
    }

    async fn list_tasks(&self) -> Result<Handled, GatewayError> {
        let servers = self.catalog().await.view().servers_with("tasks");
        match servers.as_slice() {
            [] => Err(GatewayError::new(Kind::MethodNotFound, "no server of this route has tasks")),
            [only] => self.forward(*only, self.body.clone()).await,
            several => self.merge_tasks(several).await,
        }
    }

    /// Lists of several servers as one, without pages: servers keep few tasks, and only this session's.
    async fn merge_tasks(&self, servers: &[usize]) -> Result<Handled, GatewayError> {
        let mut tasks: Vec<String> = Vec::new();
        for &server in servers {
            let (message, _) = self.whole(self.forward(server, self.body.clone()).await?).await?;
            let envelope = crate::gateway::mcp::envelope::decode(&message)?;
            let listed = envelope.result().and_then(|result| result.get("tasks"));
            if let Some(elements) = listed.as_ref().and_then(Value::as_array) {
                tasks.extend(elements.map(|task| task.text().to_owned()));
            }
        }
        Ok(Handled::own(self.id, &format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))))
    }

    async fn note_task(&self, handled: Handled) -> Result<Handled, GatewayError> {
        let (message, from) = self.whole(handled).await?;
        let envelope = crate::gateway::mcp::envelope::decode(&message)?;
        if let Some(task) = envelope.result().and_then(|result| result.get_object("task"))
            && let (Some(id), Some(from)) = (task.get_str("taskId"), &from)
        {
            self.session.remember_task(&id, &from.server);
        }
        Ok(Handled { reply: Reply::Message(message), from })
    }

    // --- the way to a server ---

    /// Sends `body` to a server of the route within this session. A session that the server lost is opened again, once.
    async fn forward(&self, server: usize, body: Bytes) -> Result<Handled, GatewayError> {
        let server: &ServerState = self
            .route
            .servers
            .get(server)
            .ok_or_else(|| GatewayError::new(Kind::NoBackend, "the server is no longer part of this route"))?;
        self.timer.served_by(&server.metrics);
        let limit = self.route.limits.streams_per_session as usize;
        let call = self.session.begin_call(self.id, &server.name, limit)?;
        let deadline = Instant::now() + self.route.response_timeout();
        let answer = tokio::select! {
            biased;
            reply = self.attempt(server, body, deadline) => reply?,
            () = call.cancelled().cancelled() => return Err(inbound::cancelled()),
        };
        Ok(Handled { reply: answer, from: Some(From { call, server: Arc::clone(&server.name), deadline }) })
    }

    async fn attempt(&self, server: &ServerState, body: Bytes, deadline: Instant) -> Result<Reply, GatewayError> {
        let (timeouts, trace) = (&self.route.timeouts, self.timer.trace());
        let binding = self.session.binding(&server.name);
        let upstream = binding.session(self.route, server, trace).await?;
        let answer = match upstream.call_for(trace, 1, body.clone(), timeouts).await {
            Err(error) if error.kind == Kind::SessionLost => {
                binding.forget(&upstream);
                let reopened = binding.session(self.route, server, trace).await?;
                reopened.call_for(trace, 2, body, timeouts).await?
            }
            answer => answer?,
        };
        Reply::hold(answer, self.id, deadline).await
    }

    /// An answer that must be read as a whole. What its server says before it reaches the client on the GET stream.
    async fn whole(&self, Handled { reply, from }: Handled) -> Result<(Bytes, Option<From>), GatewayError> {
        let server = from.as_ref().map_or("", |from| &*from.server);
        let aside = |message: Bytes| inbound::deliver(self.session, server, &message, self.session.unsolicited());
        let deadline = from.as_ref().map_or_else(Instant::now, |from| from.deadline);
        let message = reply.into_whole_by(deadline, self.id, HOLD_BYTES as u64, &aside).await?;
        Ok((message, from))
    }

    /// The body with the server's own name in the place of the client's.
    fn with_name(&self, holder: &Object<'_>, name: &str, own_name: &str) -> Result<Bytes, GatewayError> {
        if name == own_name {
            return Ok(self.body.clone());
        }
        let Some(value) = holder.get("name") else { return Ok(self.body.clone()) };
        let mut edits = Edits::new();
        edits.replace(value.span(), json_string(own_name));
        edited(edits, self.body)
    }
}

/// Handles a notification of the client; false when it is about a call or a question that is not known here.
pub(crate) async fn notification(
    session: &Arc<Session>,
    route: &Arc<RouteState>,
    body: &Bytes,
    envelope: &Envelope<'_>,
) -> bool {
    match envelope.method() {
        // Each server heard it when its session was opened.
        "notifications/initialized" => open_servers(session, route),
        "notifications/cancelled" => {
            let id = envelope.params().and_then(|params| params.get("requestId"));
            let Some(server) = id.and_then(|id| session.cancel_call(id.text())) else { return false };
            tell(session, &server, body).await;
        }
        "notifications/progress" => {
            let token = envelope.params().and_then(|params| params.get("progressToken"));
            let server = token.and_then(|token| session.questions.server_of_token(token.text()));
            let Some(server) = server else { return false };
            tell(session, &server, body).await;
        }
        _ => {
            for binding in session.bindings() {
                tell(session, binding.server(), body).await;
            }
        }
    }
    true
}

/// Brings the client's answer to the server that asked; false when nobody here did.
pub(crate) async fn response(
    session: &Arc<Session>,
    body: &Bytes,
    envelope: &Envelope<'_>,
) -> Result<bool, GatewayError> {
    let question = envelope.id().and_then(|id| session.questions.answered(id));
    let (Some(question), Some(span)) = (question, envelope.id_span()) else {
        // Late, twice, or of an earlier life: there is nobody to tell.
        return Ok(false);
    };
    let mut edits = Edits::new();
    edits.replace(span, question.id.as_ref());
    let message = edited(edits, body)?;
    tell(session, &question.server, &message).await;
    Ok(true)
}

async fn tell(session: &Arc<Session>, server: &str, message: &Bytes) {
    if let Some(upstream) = session.binding(server).peek() {
        inbound::notify(&upstream, message.clone()).await;
    }
}

/// Opens every server's session in the background: what servers say unasked must reach a client that has not called them.
pub(crate) fn open_servers(session: &Arc<Session>, route: &Arc<RouteState>) {
    for index in 0..route.servers.len() {
        let (session, route) = (Arc::clone(session), Arc::clone(route));
        tokio::spawn(async move {
            let Some(server) = route.servers.get(index) else { return };
            if let Err(error) = session.binding(&server.name).session(&route, server, None).await {
                tracing::info!(route = %route.id(), server = %server.name, %error, "a server could not be opened for a session");
            }
        });
    }
}

/// The parameters of a request that cannot do without.
pub(crate) fn params<'a>(envelope: &Envelope<'a>) -> Result<Object<'a>, GatewayError> {
    envelope.params().ok_or_else(|| GatewayError::new(Kind::InvalidParams, "params must be an object"))
}

/// An object member that must be there.
pub(crate) fn object<'a>(holder: &Object<'a>, key: &str) -> Result<Object<'a>, GatewayError> {
    holder
        .get_object(key)
        .ok_or_else(|| GatewayError::new(Kind::InvalidParams, format!("params.{key} must be an object")))
}

/// A string member that must be there.
pub(crate) fn named<'a>(object: &Object<'a>, key: &str) -> Result<Cow<'a, str>, GatewayError> {
    object.get_str(key).ok_or_else(|| GatewayError::new(Kind::InvalidParams, format!("params.{key} must be a string")))
}
