//! What a request says about its client in `params._meta`.

use super::json::{Object, Value};
use std::borrow::Cow;

/// The revision the request is written in.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// What the client can do.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// What the client is.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// From which level on it wants log messages about this request.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// What a server is, in `_meta` of its results.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Which `subscriptions/listen` a message belongs to.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// What progress about this request is to be marked with.
pub const PROGRESS_TOKEN: &str = "progressToken";

/// The known members of `params._meta`. A member of the wrong type counts as missing.
#[derive(Clone, Debug, Default)]
pub struct RequestMeta<'a> {
    /// [`PROTOCOL_VERSION`].
    pub protocol_version: Option<Cow<'a, str>>,
    /// [`CLIENT_CAPABILITIES`].
    pub client_capabilities: Option<Object<'a>>,
    /// [`CLIENT_INFO`].
    pub client_info: Option<Object<'a>>,
    /// [`LOG_LEVEL`].
    pub log_level: Option<Cow<'a, str>>,
    /// [`PROGRESS_TOKEN`]: a string or a number.
    pub progress_token: Option<Value<'a>>,
}

impl<'a> RequestMeta<'a> {
    /// Reads `_meta`. The envelope's decoder has refused keys that stand twice in it.
    pub fn read(meta: Option<&Object<'a>>) -> Self {
        let mut found = Self::default();
        for entry in meta.into_iter().flat_map(Object::entries) {
            let value = entry.value;
            match entry.key.as_deref() {
                Some(PROTOCOL_VERSION) => found.protocol_version = value.as_str(),
                Some(CLIENT_CAPABILITIES) => found.client_capabilities = value.as_object(),
                Some(CLIENT_INFO) => found.client_info = value.as_object(),
                Some(LOG_LEVEL) => found.log_level = value.as_str(),
                Some(PROGRESS_TOKEN) if value.is_string() || value.is_number() => found.progress_token = Some(value),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_members_are_read_and_wrong_types_are_missing() {
        let text = br#"{"progressToken":"p","other":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/clientInfo":[],
            "io.modelcontextprotocol/logLevel":"info"}"#;
        let meta = RequestMeta::read(Some(&Object::parse(text).unwrap()));
        assert_eq!(meta.protocol_version.unwrap(), "2026-07-28");
        assert_eq!(meta.client_capabilities.unwrap().text(), r#"{"sampling":{}}"#);
        assert!(meta.client_info.is_none());
        assert_eq!(meta.log_level.unwrap(), "info");
        assert_eq!(meta.progress_token.unwrap().text(), "\"p\"");
        assert!(RequestMeta::read(None).protocol_version.is_none());
    }
}
