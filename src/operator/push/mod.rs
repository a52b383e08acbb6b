//! Push (client of the gateways, not of the API server): the admin channel to each gateway pod.

mod client;
mod error;
mod link;

pub(super) use client::ChannelClient;
pub(super) use error::ChannelError;
pub(super) use link::{ChannelState, Desired, Link, News};

/// The port of the admin channel in a gateway's pod.
pub(super) use crate::translate::naming::CHANNEL_PORT;
