//! A TCP connection to a host that may have several addresses, of which some may lead nowhere (RFC 8305).

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};

/// Connects to the address that answers first. `host` may be an address of IPv6 in brackets.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    first(interleave(lookup_host((host, port)).await?.collect())).await
}

/// The addresses in their order, but one of each family by turns, so that a family that leads nowhere is left soon
/// (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_none_or(SocketAddr::is_ipv6);
    let (ones, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let (mut ones, mut others) = (ones.into_iter(), others.into_iter());
    let mut all = Vec::new();
    loop {
        let (one, other) = (ones.next(), others.next());
        if one.is_none() && other.is_none() {
            return all;
        }
        all.extend(one.into_iter().chain(other));
    }
}

/// Begins with the next address when one fails, or does not answer for a while, and takes whichever connects first.
async fn first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter().peekable();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    loop {
        if let Some(address) = left.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let ended = match left.peek() {
            Some(_) => timeout(STAGGER, attempts.join_next()).await,
            None => Ok(attempts.join_next().await),
        };
        match ended {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => failure = error,
            Ok(Some(Err(error))) => failure = io::Error::other(error),
            Ok(None) => return Err(failure),
            // It goes on beside the next.
            Err(_) => {}
        }
    }
}

/// How long an address may have to itself (RFC 8305 §8).
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        net::{TcpListener, TcpSocket},
        time::Instant,
    };

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_and_the_one_that_is_preferred_begins() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(at).to_vec();
        assert_eq!(interleave(addresses), ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(at));
        let addresses = ["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"].map(at).to_vec();
        assert_eq!(interleave(addresses), ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"].map(at));
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_one_that_is_silent_a_quarter_of_a_second() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let begin = Instant::now();
        // As `localhost` is where a server has IPv4 alone.
        let refusing = SocketAddr::new("::1".parse().unwrap(), address.port());
        let stream = first(vec![refusing, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());

        // One whose queue is full does not answer.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind(at("127.0.0.1:0")).unwrap();
        let silent = silent.listen(1).unwrap();
        let full = silent.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(full)).await {
            queued.push(stream.unwrap());
        }
        let begin = Instant::now();
        let stream = first(vec![full, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let took = begin.elapsed();
        assert!((STAGGER..Duration::from_secs(1)).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn what_leads_nowhere_says_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(first(vec![address]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
