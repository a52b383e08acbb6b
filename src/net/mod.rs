//! What everyone who listens needs: sockets, and bounds on how long a connection may take.

pub mod clock;
pub mod limit;
pub mod socket;
