//! A service with all of its endpoints, a gate for tokens, and requests of any kind: what is read of the head of a request
//! is read here together, from the origin over the proxies' fields to tokens and tickets, wherever they stand.
//!
//! Input: a byte that chooses the proxies' field, a byte that says whether the peer is a proxy, a byte that says how long the
//! body is, the body, and the head of the request as HTTP/1.1 writes it.

use crate::{head, input::Input};
use http::{Request, StatusCode, header, request::Parts};
use hyper::service::Service as _;
use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr},
};
use tidings::{
    Address, Event, Gate, Hub, Identity, Peer, Proxies, RoomName, Service,
    gate::{Decision, RequestHead},
    jwt::{Algorithm, DecodingKey, JwtGate},
};
use tokio::runtime::Runtime;

/// Every answer is one of the client's faults, or says that it is not now; and only proxies that are known say who the client is.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (field, is_proxy) = (usize::from(input.byte() % 3), input.byte() % 2 != 0);
    let len = usize::from(input.byte());
    let body = String::from_utf8_lossy(input.take(len)).into_owned();
    let Some(mut head) = head::parse(input.rest()) else { return };
    let ip = if is_proxy { PROXY } else { STRANGER };
    head.extensions.insert(Peer::at(ip));
    let asked = seen(field, head, body);
    if let Some(address) = asked
        && (field == 0 || !is_proxy)
    {
        assert_eq!(address, Address::of(ip), "who the client is, is not for itself to say");
    }
}

/// Which address the gate was shown, if it was asked.
fn seen(field: usize, head: Parts, body: String) -> Option<Option<Address>> {
    thread_local! {
        static SERVICES: (Runtime, [Service; 3]) = services();
    }
    SERVICES.with(|(runtime, services)| {
        ASKED.set(None);
        let response = runtime.block_on(services[field].call(Request::from_parts(head, body)));
        let response = response.unwrap_or_else(|never| match never {});
        let (status, headers) = (response.status(), response.headers());
        assert!(
            !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
            "{status}: nothing that comes breaks anything"
        );
        assert_eq!(status == StatusCode::UNAUTHORIZED, headers.contains_key(header::WWW_AUTHENTICATE));
        ASKED.take()
    })
}

fn services() -> (Runtime, [Service; 3]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let known = |proxies: Proxies| proxies.trust(&PROXY.to_string()).expect("an address");
    let services = [Proxies::none(), known(Proxies::x_forwarded_for()), known(Proxies::forwarded())];
    let services = services.map(|proxies| {
        let key = DecodingKey::from_secret(&[7; 32]).expect("a key");
        let tokens = JwtGate::new(Algorithm::HS256, key).expect("a key of the algorithm").cookie("token");
        let hub = runtime.block_on(async { Hub::builder().gate(Watched(tokens)).build() });
        tidings::service(hub).proxies(proxies)
    });
    (runtime, services)
}

thread_local! {
    static ASKED: RefCell<Option<Option<Address>>> = const { RefCell::new(None) };
}

/// Lets in whoever has no token, too, so that what comes after is reached.
struct Watched(JwtGate);

impl Gate for Watched {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        ASKED.set(Some(Peer::of(head).and_then(Peer::address)));
        if head.headers.contains_key(header::AUTHORIZATION) || head.headers.contains_key(header::COOKIE) {
            return self.0.connect(head);
        }
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn token<'a>(&'a self, token: &'a str) -> Decision<'a, Identity> {
        self.0.token(token)
    }

    fn publish<'a>(&'a self, who: &'a Identity, room: &'a RoomName, event: &'a Event) -> Decision<'a> {
        self.0.publish(who, room, event)
    }
}

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
