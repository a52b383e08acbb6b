//! A gateway's settings, and what a route and its servers change of them, as the snapshot holds them.

use super::problem::Problem;
use crate::api::McpGatewaySpec;
use crate::api::common::TimeoutOverrides;
use crate::api::duration::Duration;
use crate::api::gateway_settings::{Drain, Limits, Protocol, Sessions, Timeouts, Toggle};
use crate::ir::snapshot;

/// Everything of a snapshot that is neither a listener nor a route nor a backend.
pub(super) struct Settings {
    pub(super) protocol: snapshot::Protocol,
    pub(super) sessions: snapshot::Sessions,
    pub(super) timeouts: snapshot::Timeouts,
    pub(super) drain: snapshot::Drain,
    pub(super) limits: snapshot::Limits,
}

/// The settings of a gateway, or the field that cannot be obeyed. In a cluster the schema has seen to that; files on a
/// laptop pass by it.
pub(super) fn of_gateway(spec: &McpGatewaySpec) -> Result<Settings, Problem> {
    Ok(Settings {
        protocol: protocol(&spec.protocol)?,
        sessions: sessions(&spec.sessions)?,
        timeouts: timeouts(&spec.timeouts)?,
        drain: drain(&spec.drain),
        limits: limits(&spec.limits)?,
    })
}

fn protocol(protocol: &Protocol) -> Result<snapshot::Protocol, Problem> {
    // The revisions' order is that of their dates.
    let mut versions = protocol.versions.clone();
    versions.sort_unstable();
    versions.dedup();
    if versions.is_empty() {
        return Err(Problem::invalid("spec.protocol.versions is empty; remove it for all revisions"));
    }
    Ok(snapshot::Protocol {
        versions: versions.into_iter().map(|version| version.as_str().to_owned()).collect(),
        legacy_sse: protocol.legacy_sse == Toggle::Enabled,
    })
}

fn sessions(sessions: &Sessions) -> Result<snapshot::Sessions, Problem> {
    Ok(snapshot::Sessions { idle_timeout_ms: above_zero("spec.sessions.idleTimeout", sessions.idle_timeout)? })
}

fn timeouts(timeouts: &Timeouts) -> Result<snapshot::Timeouts, Problem> {
    Ok(snapshot::Timeouts {
        connect_ms: above_zero("spec.timeouts.connect", timeouts.connect)?,
        request_ms: above_zero("spec.timeouts.request", timeouts.request)?,
        response_ms: above_zero("spec.timeouts.response", timeouts.response)?,
        progress_extends_request: timeouts.progress_extends_request,
    })
}

/// The effective timeouts of a route, or of a server of one: its own over those above it.
pub(super) fn overridden(above: &snapshot::Timeouts, own: Option<&TimeoutOverrides>) -> snapshot::Timeouts {
    let Some(TimeoutOverrides { connect, request, response, progress_extends_request }) = own else {
        return above.clone();
    };
    let or = |own: &Option<Duration>, above: u64| own.map_or(above, Duration::as_millis);
    snapshot::Timeouts {
        connect_ms: or(connect, above.connect_ms),
        request_ms: or(request, above.request_ms),
        response_ms: or(response, above.response_ms),
        progress_extends_request: progress_extends_request.unwrap_or(above.progress_extends_request),
    }
}

/// The first of a route's or a server's timeouts that would end every call at once. `field` is where they stand.
pub(super) fn timeout_of_zero(field: &str, own: Option<&TimeoutOverrides>) -> Option<Problem> {
    let TimeoutOverrides { connect, request, response, progress_extends_request: _ } = own?;
    [("connect", connect), ("request", request), ("response", response)]
        .into_iter()
        .find_map(|(name, value)| above_zero(&format!("{field}.{name}"), (*value)?).err())
}

fn drain(drain: &Drain) -> snapshot::Drain {
    snapshot::Drain { min_duration_ms: drain.min_duration.as_millis(), timeout_ms: drain.timeout.as_millis() }
}

fn limits(limits: &Limits) -> Result<snapshot::Limits, Problem> {
    let count = |name: &str, value: u32| {
        if value == 0 { Err(Problem::invalid(format!("spec.limits.{name} must be above 0"))) } else { Ok(value) }
    };
    Ok(snapshot::Limits {
        request_body_bytes: count("requestBodyBytes", limits.request_body_bytes)?.into(),
        header_bytes: count("headerBytes", limits.header_bytes)?,
        client_read_ms: above_zero("spec.limits.clientReadTimeout", limits.client_read_timeout)?,
        connections: count("connections", limits.connections)?,
        sessions: count("sessions", limits.sessions)?,
        streams_per_session: count("streamsPerSession", limits.streams_per_session)?,
        list_items: count("listItems", limits.list_items)?,
        list_bytes: count("listBytes", limits.list_bytes)?.into(),
    })
}

fn above_zero(field: &str, duration: Duration) -> Result<u64, Problem> {
    match duration.as_millis() {
        0 => Err(Problem::invalid(format!("{field} must be above 0s; remove it for its default"))),
        millis => Ok(millis),
    }
}
