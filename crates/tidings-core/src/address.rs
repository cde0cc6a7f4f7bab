//! Whom limits count as one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU64,
};

/// An address as limits count it: one of IPv4, or the 64 bits of an IPv6 network, of which a household has at least
/// one whole. `::ffff:a.b.c.d`, as a socket for both shows IPv4, is `a.b.c.d`.
///
/// It takes no more than a pointer, for sessions carry it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(NonZeroU64);

impl Address {
    /// How an address counts. None for the machine itself, which is not counted: behind its loopback are proxies and
    /// tests, each for many.
    pub fn of(ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            return None;
        }
        let bits = match ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            // No network begins with 32 zero bits (RFC 4291 §2.4), so that none is taken for an address of IPv4.
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        };
        NonZeroU64::new(bits).map(Self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0.get()) {
            Ok(bits) => Ipv4Addr::from(bits).fmt(f),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from(u128::from(self.0.get()) << 64)),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        Address::of(text.parse().unwrap()).map(|address| address.to_string())
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_so_does_ipv4_however_it_is_written() {
        assert_eq!(of("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("2001:db8:0:1::1").as_deref(), Some("2001:db8:0:1::/64"));
        for own in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(of(own), None, "{own}");
        }
        assert_eq!(size_of::<Option<Address>>(), 8);
    }
}
