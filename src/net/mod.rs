//! What everyone who listens needs: sockets, bounds on how long a connection may take, and the
//! signals to stop.

pub mod clock;
pub mod limit;
pub mod signals;
pub mod socket;
