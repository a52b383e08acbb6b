//! The data plane as what surrounds it sees it.

use super::config::{Engine, EngineReport};
use super::error::GatewayError;
use super::metrics::Metrics;
use super::peers::peering::{JoinError, Peering};
use super::state::Gateway;
use super::status;
use crate::ir::generation::Generation;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Endpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Engine for Gateway {
    fn start(generation: &Generation, metrics: Arc<Metrics>) -> Result<Arc<Self>, GatewayError> {
        Self::new(generation, metrics)
    }

    fn apply(&self, generation: &Generation) -> Result<String, GatewayError> {
        Self::apply(self, generation)
    }

    fn join(&self, peering: Peering) -> Result<(), JoinError> {
        Self::join(self, peering)
    }

    fn set_peers(&self, peers: &BTreeSet<Endpoint>) {
        Self::set_peers(self, peers);
    }

    fn set_endpoints(&self, backends: &BTreeMap<ObjectId, BTreeSet<Endpoint>>) {
        Self::set_endpoints(self, backends);
    }

    fn report(&self) -> EngineReport {
        status::report(&self.running())
    }

    fn status(&self) -> serde_json::Value {
        serde_json::to_value(status::of_routes(&self.running())).unwrap_or_default()
    }

    /// Without other replicas, nothing that lasts would be worth refusing: a session begun now ends with the others.
    async fn drain(&self) {
        self.leave().await;
    }

    fn close_streams(&self) {
        Self::close_streams(self);
    }

    async fn shutdown(&self) {
        Self::shutdown(self).await;
    }
}
