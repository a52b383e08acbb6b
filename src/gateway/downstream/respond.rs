//! HTTP forms of the gateway's answers.

use super::body::ResponseBody;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::message;
use crate::gateway::mcp::version::Era;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
/// Asks buffering proxies (nginx) to let events through as they come.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO: HeaderValue = HeaderValue::from_static("no");

/// A whole JSON answer.
pub(crate) fn json(message: Bytes) -> Response<ResponseBody> {
    json_body(ResponseBody::Full(message))
}

/// A JSON answer in whatever pieces.
pub(crate) fn json_body(body: ResponseBody) -> Response<ResponseBody> {
    with_type(body, JSON)
}

/// A JSON answer with a status of its own.
pub(crate) fn json_with_status(status: u16, message: Bytes) -> Response<ResponseBody> {
    let mut response = json(message);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// An event stream.
pub(crate) fn events(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = with_type(body, EVENT_STREAM);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response.headers_mut().insert(ACCEL_BUFFERING, NO);
    response
}

/// Taken; there is nothing to say.
pub(crate) fn accepted() -> Response<ResponseBody> {
    empty(StatusCode::ACCEPTED)
}

/// Nothing but a status.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response
}

/// An error, as the answer to the request `id` (JSON text) or to none that could be read.
pub(crate) fn error(era: Era, id: Option<&str>, error: &GatewayError) -> Response<ResponseBody> {
    json_with_status(status(era, error), message::error(id, error))
}

/// An HTTP method that the endpoint does not have.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<ResponseBody> {
    let refusal = GatewayError::new(Kind::HttpMethodNotAllowed, format!("this endpoint takes {allowed}"));
    let mut response = error(Era::Legacy, None, &refusal);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// To a legacy client 404 means that its session is gone; no other error may look like it.
fn status(era: Era, error: &GatewayError) -> u16 {
    match (era, error.kind) {
        (Era::Legacy, Kind::MethodNotFound) => 200,
        _ => error.http_status(),
    }
}

fn with_type(body: ResponseBody, content_type: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
