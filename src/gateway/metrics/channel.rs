//! What the operator asks over the admin channel, as a bounded label.

/// What a request over the admin channel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelRequest {
    /// To serve a generation.
    Generation,
    /// To reach backends and replicas at these addresses.
    Endpoints,
    /// For a report.
    Report,
    /// Something that does not exist.
    Other,
}

impl ChannelRequest {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Endpoints => "endpoints",
            Self::Report => "report",
            Self::Other => "other",
        }
    }
}
