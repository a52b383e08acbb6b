//! JSON-RPC messages as they came, byte for byte.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One message and nothing parsed out of it yet.
#[derive(Clone, Debug)]
pub(crate) struct Message(pub(crate) String);

/// The parts of a message, borrowed from its text.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Message {
    fn envelope(&self) -> Envelope<'_> {
        serde_json::from_str(&self.0).unwrap_or_else(|error| panic!("not a JSON-RPC message ({error}): {}", self.0))
    }

    /// The id, in its own spelling.
    pub(crate) fn id(&self) -> Option<&str> {
        self.envelope().id.map(RawValue::get)
    }

    /// The method of a request or a notification.
    pub(crate) fn method(&self) -> Option<String> {
        self.envelope().method
    }

    /// The text of the result, unless this is something else.
    pub(crate) fn result(&self) -> Option<&str> {
        self.envelope().result.map(RawValue::get)
    }

    /// The text of the parameters of a request or a notification.
    pub(crate) fn params(&self) -> Option<&str> {
        self.envelope().params.map(RawValue::get)
    }

    /// Which error this is.
    pub(crate) fn code(&self) -> String {
        #[derive(Deserialize)]
        struct Error {
            code: i64,
        }
        let error: Error = serde_json::from_str(self.envelope().error.map_or("{}", RawValue::get))
            .unwrap_or_else(|_| panic!("not an error: {}", self.0));
        format!("error {}", error.code)
    }

    /// What the message says, apart from the envelope: which differs from hop to hop.
    pub(crate) fn payload(&self) -> String {
        let envelope = self.envelope();
        match (envelope.method, envelope.result, envelope.error) {
            (Some(method), ..) => format!("{method} {}", envelope.params.map_or("", RawValue::get)),
            (None, Some(result), _) => format!("result {}", result.get()),
            (None, None, Some(error)) => format!("error {}", error.get()),
            (None, None, None) => panic!("neither a request nor an answer: {}", self.0),
        }
    }
}
