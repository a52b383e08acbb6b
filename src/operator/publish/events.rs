//! Kubernetes Events, for `kubectl describe` and for whoever collects them.

use crate::api::API_VERSION;
use crate::operator::client::within;
use crate::operator::observe::events::{EventNote, EventType};
use crate::operator::target::Target;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{self, Event, Recorder, Reporter};

/// Emits Events. Those that repeat are counted in one.
pub(super) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: "mcp-operator".to_owned(), instance: Some(identity.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Tells of one object. An Event that cannot be written is lost: the status says the same.
    pub(super) async fn emit(&self, about: &Target, uid: &str, note: EventNote) {
        let event = Event {
            type_: match note.type_ {
                EventType::Normal => events::EventType::Normal,
                EventType::Warning => events::EventType::Warning,
            },
            reason: note.reason,
            note: Some(note.note),
            action: note.action.to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(about.kind.as_str().to_owned()),
            name: Some(about.id.name.clone()),
            namespace: Some(about.id.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        if let Err(error) = within(self.0.publish(&event, &reference)).await {
            tracing::warn!(%about, %error, "an Event could not be written");
        }
    }
}
