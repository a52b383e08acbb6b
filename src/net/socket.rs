//! Listening sockets.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections the kernel keeps for us between two accepts: what a busy moment brings, and the usual upper bound
/// (`net.core.somaxconn` was 128 for long and is 4096 now; the kernel takes the lower).
const BACKLOG: i32 = 1024;

/// Where sockets are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Every address of the machine, IPv6 and IPv4.
    Everywhere,
    /// One address.
    Address(IpAddr),
}

impl Bind {
    /// Whether only this machine can reach what is bound there.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Everywhere => false,
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl From<IpAddr> for Bind {
    /// `::` stands for every address, as people expect it to.
    fn from(address: IpAddr) -> Self {
        if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) { Self::Everywhere } else { Self::Address(address) }
    }
}

/// Binds a port and starts to listen. Port 0 takes a free one. Must run inside a tokio runtime.
pub fn listen(bind: Bind, port: u16) -> io::Result<tokio::net::TcpListener> {
    let socket = match bind {
        Bind::Address(address) => open(SocketAddr::new(address, port), false)?,
        Bind::Everywhere => match open(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), true) {
            // A machine without IPv6; everything else, such as a port in use, would fail again.
            Err(error) if is_without_ipv6(&error) => open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), false)?,
            result => result?,
        },
    };
    tokio::net::TcpListener::from_std(socket)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn open(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if dual_stack {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the kernel to forget the connections of the process before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everywhere_is_reached_over_both_families() {
        let listener = listen(Bind::Everywhere, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if address.is_ipv6() {
            tokio::net::TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let first = listen(Bind::Address(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = listen(Bind::Address(Ipv4Addr::LOCALHOST.into()), port);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_unspecified_ipv6_address_means_everywhere() {
        assert_eq!(Bind::from(IpAddr::from(Ipv6Addr::UNSPECIFIED)), Bind::Everywhere);
        assert!(Bind::from(IpAddr::from(Ipv6Addr::LOCALHOST)).is_loopback());
        assert!(!Bind::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)).is_loopback());
    }
}
