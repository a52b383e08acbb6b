//! MCP methods as a bounded label.

/// What a request asks for, as one of a fixed list of words: a client cannot make up new series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MethodClass(u8);

/// Methods that clients send, then what has no method: `response` (a client's answer to a server's question), `stream`
/// (the GET stream), `delete` (the end of a session) and `other`.
const WORDS: [&str; 27] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "tasks/list",
    "tasks/result",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "response",
    "stream",
    "delete",
    "other",
];

impl MethodClass {
    /// How many there are.
    pub(super) const COUNT: usize = WORDS.len();
    /// Anything that is no known method.
    pub const OTHER: Self = Self(26);
    /// A client's answer to a server's question.
    pub const RESPONSE: Self = Self(23);
    /// A GET stream.
    pub const STREAM: Self = Self(24);
    /// The end of a session, asked for by its client.
    pub const DELETE: Self = Self(25);

    /// Classifies an MCP method.
    pub fn of(method: &str) -> Self {
        // Comparing two texts of different length costs one comparison of the lengths: no table is faster.
        let known = WORDS[..Self::RESPONSE.index()].iter().position(|word| *word == method);
        known.and_then(|index| u8::try_from(index).ok()).map_or(Self::OTHER, Self)
    }

    /// The word on the metrics page.
    pub fn word(self) -> &'static str {
        WORDS[self.index()]
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_methods_are_themselves_and_others_are_other() {
        assert_eq!(MethodClass::of("tools/call").word(), "tools/call");
        assert_eq!(MethodClass::of("notifications/progress").word(), "notifications/progress");
        for made_up in ["tools/evil", "", "response", "stream", "delete", "other"] {
            assert_eq!(MethodClass::of(made_up).word(), "other", "{made_up}");
        }
        assert_eq!(
            [MethodClass::RESPONSE, MethodClass::STREAM, MethodClass::DELETE, MethodClass::OTHER]
                .map(MethodClass::word),
            ["response", "stream", "delete", "other"]
        );
    }
}
