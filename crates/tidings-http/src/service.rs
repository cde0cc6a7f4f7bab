//! The service: from a request to the endpoint that answers it.

use crate::{
    Asset, Body, BoxError, Bypass, Endpoint, Origins, Peer, Proxies, Refusal, Request, RequestBody, Traffic,
    axum::introduce, refusal::Uncounted, traffic::Counts,
};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE,
        COOKIE, Entry, SEC_WEBSOCKET_PROTOCOL,
    },
    request::Parts,
};
use std::{collections::HashMap, convert::Infallible, fmt, future::Future, pin::Pin, sync::Arc};
use tidings_core::{Buckets, Hub, Rate};
use tracing::Instrument;

/// Answers HTTP requests with a hub and its transports. A handle; cloning it is cheap.
///
/// Its endpoints stand below [`DEFAULT_BASE`](Self::DEFAULT_BASE), and also at the root, which is where they are
/// when a router that has taken off a prefix hands requests on.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    hub: Hub,
    base: String,
    origins: Origins,
    proxies: Proxies,
    endpoints: Vec<Arc<dyn Endpoint>>,
    pages: HashMap<String, Asset>,
    /// Where a balancer asks whether to send clients here.
    ready: Option<String>,
    /// Nothing is written past the server.
    through: bool,
    /// Lines of the log: whoever comes from many addresses could write one for each.
    lines: Arc<Buckets>,
    counts: Arc<Counts>,
}

impl Service {
    /// The path below which the endpoints stand unless another is set.
    pub const DEFAULT_BASE: &'static str = "/realtime";

    /// A service without endpoints.
    pub fn new(hub: Hub) -> Self {
        let shared = Shared {
            hub,
            base: Self::DEFAULT_BASE.to_owned(),
            origins: Origins::same(),
            proxies: Proxies::none(),
            endpoints: Vec::new(),
            pages: HashMap::new(),
            ready: None,
            through: false,
            lines: Arc::new(Buckets::new(Rate::per_second(1))),
            counts: Arc::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Adds an endpoint, in place of the one that had its path.
    #[must_use]
    pub fn endpoint(self, endpoint: impl Endpoint) -> Self {
        self.with(|shared| {
            shared.endpoints.retain(|other| other.path() != endpoint.path());
            shared.endpoints.push(Arc::new(endpoint));
        })
    }

    /// Sets the path below which the endpoints stand, such as `/live`.
    #[must_use]
    pub fn base(self, path: &str) -> Self {
        let base = path.trim_matches('/');
        self.with(|shared| shared.base = if base.is_empty() { String::new() } else { format!("/{base}") })
    }

    /// Sets which web pages may use it; only those of its own origin unless set.
    #[must_use]
    pub fn origins(self, origins: Origins) -> Self {
        self.with(|shared| shared.origins = origins)
    }

    /// Sets which proxies are believed when they say for whom they ask; none unless set.
    #[must_use]
    pub fn proxies(self, proxies: Proxies) -> Self {
        self.with(|shared| shared.proxies = proxies)
    }

    /// Serves a file at a path, for a small application that has no other server for its pages.
    #[must_use]
    pub fn page(self, path: &str, asset: Asset) -> Self {
        self.with(|shared| drop(shared.pages.insert(path.to_owned(), asset)))
    }

    /// Answers at a path whether the server is [ready](Hub::ready), for a balancer that asks: 200, or 503 with the reason.
    #[must_use]
    pub fn ready(self, path: &str) -> Self {
        self.with(|shared| shared.ready = Some(path.to_owned()))
    }

    /// Has the bodies of answers go through the server that the service is mounted in, though it would let them be written past it
    /// (see [`Bypass`]): for middleware that wants to see, or changes, what is in event streams.
    #[must_use]
    pub fn through_server(self) -> Self {
        self.with(|shared| shared.through = true)
    }

    /// The hub.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// Its connections and answers so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.counts.read()
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }

    /// Whether a connection is a proxy's.
    pub(crate) fn is_proxy(&self, peer: Peer) -> bool {
        self.shared.proxies.trusts(peer)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: http::Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        self.route(head, RequestBody::new(body)).await
    }

    async fn route(&self, mut head: Parts, body: RequestBody) -> Response<Body> {
        introduce(&mut head.extensions);
        if self.shared.through {
            head.extensions.remove::<Bypass>();
        }
        let version = head.version;
        let span = tracing::debug_span!(
            "request",
            method = method(&head.method),
            endpoint = self.shared.find(head.uri.path()).map(|endpoint| endpoint.path()),
            status = tracing::field::Empty,
        );
        let mut response = self.find_answer(head, body).instrument(span.clone()).await;
        span.record("status", response.status().as_u16());
        self.shared.counts.answered(response.status());
        if let Some(Uncounted(code)) = response.extensions_mut().remove() {
            self.hub().note_refused(code);
        }
        // A balancer that keeps connections is not to ask on this one again.
        if version < Version::HTTP_2 && self.hub().ready().is_err() {
            response.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        }
        response
    }

    async fn find_answer(&self, mut head: Parts, body: RequestBody) -> Response<Body> {
        let shared = &self.shared;
        hide_secrets(&mut head.headers);
        if let Some(peer) = Peer::of(&head) {
            let client = shared.proxies.client(peer, &head.headers);
            head.extensions.insert(client);
        }
        if let Some(page) = shared.pages.get(head.uri.path()) {
            return match head.method {
                Method::GET | Method::HEAD => page.answer(&head.headers),
                _ => refuse_method("GET, HEAD"),
            };
        }
        if shared.ready.as_deref() == Some(head.uri.path()) {
            return match head.method {
                Method::GET | Method::HEAD => readiness(&shared.hub),
                _ => refuse_method("GET, HEAD"),
            };
        }
        let asking = head.headers.clone();
        let allowed = shared.origins.check(&head);
        let is_allowed = allowed.is_ok();
        let mut response = self.answer_at_endpoint(head, body, allowed).await;
        if is_allowed {
            // Refusals too: the page is to see what was wrong.
            Origins::mark(&asking, response.headers_mut());
        }
        response
    }

    async fn answer_at_endpoint(
        &self,
        head: Parts,
        body: RequestBody,
        allowed: Result<(), String>,
    ) -> Response<Body> {
        let shared = &self.shared;
        let Some(endpoint) = shared.find(head.uri.path()) else {
            return Refusal::of("not_found", "there is nothing at this address").into_response();
        };
        let methods = if endpoint.method() == Method::POST { "POST, OPTIONS" } else { "GET, OPTIONS" };
        if !endpoint.takes(&head) && head.method != Method::OPTIONS {
            return refuse_method(methods);
        }
        let address = Peer::of(&head).and_then(Peer::address);
        if !shared.hub.takes_request(address) {
            let refusal = Refusal::of("rate", "too many requests from this address");
            body.discard(&head.headers).await;
            return endpoint.refuse(&head, refusal);
        }
        if let Err(reason) = allowed {
            if shared.lines.take(()).is_ok() {
                let (address, path) = (address.map(tracing::field::display), endpoint.path());
                tracing::info!(address, path, "a page's request is refused: {reason}");
            }
            return Refusal::of("origin", "pages of this origin may not use this service").into_response();
        }
        if head.method == Method::OPTIONS {
            return Origins::preflight(&head, methods);
        }
        if !body.is_at_end() && is_encoded(&head.headers) {
            body.discard(&head.headers).await;
            return Refusal::of("encoding", "a body is taken as it is, not compressed")
                .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                .into_response();
        }
        endpoint.answer(shared.hub.clone(), Request::new(head, body)).await
    }
}

impl Shared {
    fn find(&self, path: &str) -> Option<Arc<dyn Endpoint>> {
        let below = path.strip_prefix(&self.base).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let name = below.strip_prefix('/')?;
        self.endpoints.iter().find(|endpoint| endpoint.path() == name).cloned()
    }
}

/// A method as it may be told: one that nobody knows is its client's own word.
fn method(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::POST,
        Method::OPTIONS,
        Method::CONNECT,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::TRACE,
    ];
    if known.contains(method) { method.as_str() } else { "other" }
}

/// Whoever writes a head into a log, a gate for one, does not write what clients show of who they are.
fn hide_secrets(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL] {
        if let Entry::Occupied(mut lines) = headers.entry(name) {
            lines.iter_mut().for_each(|line| line.set_sensitive(true));
        }
    }
}

/// Whether a body is compressed. None is inflated here, so that a small body is small.
fn is_encoded(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONTENT_ENCODING).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

fn readiness(hub: &Hub) -> Response<Body> {
    let (status, text) = match hub.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refuse_method(methods: &'static str) -> Response<Body> {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", format!("this address answers {methods}"))
        .header(ALLOW, HeaderValue::from_static(methods))
        .into_response()
}

impl<B> hyper::service::Service<http::Request<B>> for Service
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body);
        Box::pin(async move { Ok(service.route(head, body).await) })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.shared.endpoints.iter().map(|endpoint| endpoint.path()).collect();
        f.debug_struct("Service")
            .field("base", &self.shared.base)
            .field("endpoints", &paths)
            .finish_non_exhaustive()
    }
}
