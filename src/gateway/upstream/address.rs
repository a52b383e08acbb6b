//! Which resolved addresses may be dialled.
//!
//! The check runs on the address that is about to be dialled, never on a name: a name may resolve to something else a
//! moment later.

use crate::ir::snapshot::AddressPolicy;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `policy` lets `address` be dialled.
pub(super) fn allowed(policy: AddressPolicy, address: IpAddr) -> bool {
    match policy {
        AddressPolicy::Any => true,
        AddressPolicy::PublicOnly => match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        },
    }
}

#[expect(clippy::match_same_arms, reason = "each arm stands for its own registry entry")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This" network, private, loopback, link-local (metadata services), private, private.
        (0 | 10 | 127, _, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _) => true,
        // Shared between a carrier and its customers (CGNAT).
        (100, 64..=127, _) => true,
        // Protocol assignments, 6to4 relays.
        (192, 0, 0) | (192, 88, 99) => true,
        // Documentation, benchmarking.
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (198, 18 | 19, _) => true,
        // Multicast, reserved, broadcast.
        (224..=255, _, _) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(embedded) = embedded_v4(address) {
        return is_public_v4(embedded);
    }
    // Global unicast is 2000::/3; all else is loopback, unspecified, unique local, link-local, multicast or unassigned.
    match address.segments() {
        // Protocol assignments (Teredo, benchmarking, ORCHID); documentation, old and new.
        [0x2001, 0x0000..=0x01ff | 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that packets to `address` end up at, where a translator or tunnel stands between.
#[expect(clippy::match_same_arms, reason = "each arm stands for its own translation mechanism")]
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // Loopback and unspecified look like the deprecated IPv4-compatible form; they are refused below as they are.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible, IPv4-mapped, IPv4-translated.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(from(high, low)),
        // NAT64, with its well-known prefix. The prefix for local use (64:ff9b:1::/48) is not global unicast.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        allowed(AddressPolicy::PublicOnly, text.parse().unwrap())
    }

    #[test]
    fn public_addresses_pass() {
        for text in ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1"] {
            assert!(public(text), "{text}");
        }
        for text in ["2606:4700:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::8.8.8.8", "2002:0808:0808::1"]
        {
            assert!(public(text), "{text}");
        }
    }

    #[test]
    fn internal_v4_addresses_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn internal_v6_addresses_are_refused_in_every_disguise() {
        for text in [
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "2001:2::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.1.2.3",
            "::10.0.0.1",
            "::ffff:0:192.168.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:0001::1",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn the_open_policy_refuses_nothing() {
        for text in ["127.0.0.1", "::1", "169.254.169.254"] {
            assert!(allowed(AddressPolicy::Any, text.parse().unwrap()), "{text}");
        }
    }
}
