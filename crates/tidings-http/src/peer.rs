//! Where a request comes from.

use http::{HeaderMap, HeaderName, header::FORWARDED, request::Parts};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use tidings_core::Address;

/// Where a request comes from, as an extension of its head. [`serve`](crate::serve()) puts the connection's own there;
/// before a gate sees it, the [service](crate::Service) has put that of the client in its place, which differs behind
/// [`Proxies`].
///
/// axum's has it where it listens on an `axum::Listener` of this crate. A server of another kind puts it there itself, or its requests
/// come from nowhere and no limit of one address holds:
///
/// ```
/// # use tidings_http::Peer;
/// # fn call<B>(mut request: http::Request<B>, address: std::net::SocketAddr) {
/// request.extensions_mut().insert(Peer::at(address.ip()));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(Option<IpAddr>);

impl Peer {
    /// At an address; `::ffff:a.b.c.d` is `a.b.c.d`.
    pub fn at(ip: IpAddr) -> Self {
        Self(Some(ip.to_canonical()))
    }

    /// On this machine, by way of a Unix socket.
    pub fn local() -> Self {
        Self(None)
    }

    /// Where a request comes from, if that is known.
    pub fn of(head: &Parts) -> Option<Self> {
        head.extensions.get().copied()
    }

    /// Its address, if it has one.
    pub fn ip(self) -> Option<IpAddr> {
        self.0
    }

    /// How limits count it, if they do.
    pub fn address(self) -> Option<Address> {
        self.0.and_then(Address::of)
    }
}

/// Which proxies are believed when they say for whom they ask, and in which header field they say so.
///
/// The field is read only of requests that come from one of them, and from its end: the last address that is none of
/// theirs is the client's, for whatever stands before it the client may have written itself. If there is none, or what
/// stands there is no address, the request counts as the proxy's own. The other of the two fields is never read: proxies pass on
/// what they do not know.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    field: Option<Field>,
    networks: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    XForwardedFor,
    Forwarded,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
#[non_exhaustive]
pub struct NetworkError(String);

impl Proxies {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// Proxies that say it in `X-Forwarded-For`, as nginx, haproxy and most others can be told to.
    pub fn x_forwarded_for() -> Self {
        Self { field: Some(Field::XForwardedFor), networks: Vec::new() }
    }

    /// Proxies that say it in `Forwarded` (RFC 7239).
    pub fn forwarded() -> Self {
        Self { field: Some(Field::Forwarded), networks: Vec::new() }
    }

    /// Trusts the proxies of a network, such as `10.0.0.0/8`, or at an address. One that comes by way of a Unix socket is
    /// trusted anyway: the socket's file says who may use it.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn trust(mut self, network: &str) -> Result<Self, NetworkError> {
        let parsed = network.parse().or_else(|_| network.parse().map(|ip: IpAddr| IpNet::from(ip)));
        self.networks.push(parsed.map_err(|_| NetworkError(network.to_owned()))?);
        Ok(self)
    }

    /// Whether a peer is one of them.
    pub(crate) fn trusts(&self, peer: Peer) -> bool {
        let trusts = |ip| self.networks.iter().any(|network| network.contains(&ip));
        self.field.is_some() && peer.ip().is_none_or(trusts)
    }

    /// Where a request comes from whose connection is `peer`'s.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        if !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        for hop in self.hops(headers) {
            let Some(ip) = hop else { return peer };
            client = Peer::at(ip);
            if !self.trusts(client) {
                return client;
            }
        }
        // All are proxies: the first of them asks for itself.
        client
    }

    /// Those for whom a request was passed on, the last first; none for what is no address.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let lines = |name: &HeaderName| {
            let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
            lines.join(&b',')
        };
        match self.field {
            None => Vec::new(),
            // A list that knows no quotes: one that stands there is part of a member.
            Some(Field::XForwardedFor) => {
                lines(&X_FORWARDED_FOR).rsplit(|byte| *byte == b',').filter_map(member).map(node).collect()
            }
            Some(Field::Forwarded) => {
                rlist(&lines(&FORWARDED), b',').into_iter().map(forwarded_for).collect()
            }
        }
    }
}

/// A member of a list; none that is empty counts (RFC 9110 §5.6.1).
fn member(text: &[u8]) -> Option<&[u8]> {
    Some(text.trim_ascii()).filter(|text| !text.is_empty())
}

/// The members of a list, the last first. What stands in quotes is not taken apart.
///
/// It is read from its end, as it is believed: a quote that a client has opened and not closed would otherwise swallow what
/// the proxies have put behind it.
fn rlist(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut quoted = false;
    let (mut members, mut end) = (Vec::new(), line.len());
    for at in (0..line.len()).rev() {
        let escapes = line[..at].iter().rev().take_while(|byte| **byte == b'\\');
        match line[at] {
            b'"' if escapes.count() % 2 == 0 => quoted = !quoted,
            byte if byte == separator && !quoted => {
                members.extend(member(&line[at + 1..end]));
                end = at;
            }
            _ => {}
        }
    }
    members.extend(member(&line[..end]));
    members
}

/// The `for` of a member of `Forwarded` (RFC 7239 §4).
fn forwarded_for(member: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in rlist(member, b';') {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        if name.eq_ignore_ascii_case(b"for") {
            if found.is_some() {
                return None;
            }
            let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            found = Some(node(unquoted.unwrap_or(value))?);
        }
    }
    found
}

/// An address with or without a port (RFC 7239 §6); what hides one is none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().map(IpAddr::V6).ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &Proxies, peer: &str, name: &str, lines: &[&str]) -> String {
        let mut request = http::Request::get("/");
        for line in lines {
            request = request.header(name, *line);
        }
        let peer = if peer.is_empty() { Peer::local() } else { Peer::at(peer.parse().unwrap()) };
        let client = proxies.client(peer, request.body(()).unwrap().headers());
        client.ip().map_or_else(String::new, |ip| ip.to_string())
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_the_last_untrusted_hop_is_the_client() {
        let proxies = Proxies::x_forwarded_for().trust("10.0.0.0/8").unwrap().trust("2001:db8::1").unwrap();
        let from = |peer: &str, lines: &[&str]| client(&proxies, peer, "x-forwarded-for", lines);
        for (peer, lines, client) in [
            ("10.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.1, 10.9.9.9"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db8::2]:4711"], "2001:db8::2"),
            ("10.0.0.1", &["[2001:db8::2]"], "2001:db8::2"),
            ("10.0.0.1", &["2001:db8::2"], "2001:db8::2"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["::ffff:10.2.3.4"], "10.2.3.4"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("2001:db8::1", &["192.0.2.1"], "192.0.2.1"),
            // Through a Unix socket.
            ("", &["192.0.2.1"], "192.0.2.1"),
            // All are ours.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // What is no address.
            ("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["_hidden"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1 192.0.2.2"], "10.0.0.1"),
            ("10.0.0.1", &["\"192.0.2.1"], "10.0.0.1"),
            ("10.0.0.1", &["garbage, 192.0.2.1"], "192.0.2.1"),
            // What a client has written cannot hide what the proxy has put behind it.
            ("10.0.0.1", &["\", 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["\"", "192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &[",, ,"], "10.0.0.1"),
            // Not one of ours.
            ("192.0.2.9", &["192.0.2.1"], "192.0.2.9"),
            ("2001:db8::2", &["192.0.2.1"], "2001:db8::2"),
        ] {
            assert_eq!(from(peer, lines), client, "{peer} {lines:?}");
        }
        assert_eq!(client(&proxies, "10.0.0.1", "forwarded", &["for=192.0.2.1"]), "10.0.0.1");
        assert_eq!(client(&Proxies::none(), "", "x-forwarded-for", &["192.0.2.1"]), "");
        assert!(Proxies::none().trust("10.0.0.0/33").is_err());
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        let proxies = Proxies::forwarded().trust("10.0.0.0/8").unwrap();
        let from = |lines: &[&str]| client(&proxies, "10.0.0.1", "forwarded", lines);
        for (lines, client) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=192.0.2.1;proto=https;by=203.0.113.43"], "192.0.2.1"),
            (&[r#"for="[2001:db8:cafe::17]:4711""#], "2001:db8:cafe::17"),
            (&[r#"for="192.0.2.1:80""#], "192.0.2.1"),
            (&["for=6.6.6.6, for=192.0.2.1, for=10.1.1.1"], "192.0.2.1"),
            (&["for=6.6.6.6", "for=192.0.2.1"], "192.0.2.1"),
            (&[r#"for=6.6.6.6;x="a,for=7.7.7.7;", for=192.0.2.1"#], "192.0.2.1"),
            (&[r#"for=192.0.2.1;x="\",for=7.7.7.7""#], "192.0.2.1"),
            // What a client has written cannot hide what the proxy has put behind it.
            (&[r#"for="6.6.6.6, for=192.0.2.1"#], "192.0.2.1"),
            (&[r#"for="6.6.6.6"#, "for=192.0.2.1"], "192.0.2.1"),
            (&[r#"for="\, for=192.0.2.1"#], "192.0.2.1"),
            // What hides an address, or breaks the rules.
            (&["for=unknown"], "10.0.0.1"),
            (&["for=\"_gazonk\""], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
            (&["192.0.2.1"], "10.0.0.1"),
            (&["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
            (&[r#"for="192.0.2.1"#], "10.0.0.1"),
            (&["for="], "10.0.0.1"),
        ] {
            assert_eq!(from(lines), client, "{lines:?}");
        }
        assert_eq!(client(&proxies, "10.0.0.1", "x-forwarded-for", &["192.0.2.1"]), "10.0.0.1");
    }
}
