//! Which web pages may use the service.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN,
        VARY,
    },
    request::Parts,
};

use crate::Body;
use std::fmt;

/// Which web pages may use the service: those of its own origin, and those that are named.
///
/// Browsers send the origin of the page with WebSocket handshakes, with requests to other origins and with
/// `POST`; no other client has one, so its absence says nothing and is allowed, unless the browser says that the request
/// is one of another site's page (`Sec-Fetch-Site`), as an image's or a script's is. Origins are compared by scheme, host
/// and effective port (RFC 6454 §4), never as text. Of its own origin the service knows only host and port, for a proxy
/// may have taken off the TLS; where plain HTTP is not to be trusted, let the proxy redirect it.
///
/// A proxy may also put a `Host` of its own in place of the one that the page asked for, as nginx does unless told
/// otherwise. Requests are then known by `Sec-Fetch-Site: same-origin` (W3C Fetch Metadata §2.4), which browsers set where the
/// connection is secure and which no page can set. Chromium does not send it with WebSocket handshakes: for these, let the
/// proxy pass the `Host` on, or [allow](Self::allow) the origin by its name.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    named: Vec<Named>,
    any: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Tuple(Tuple),
    /// A page without an origin, such as a local file or a sandboxed frame.
    Null,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tuple {
    scheme: String,
    host: String,
    port: u16,
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin; one is written scheme://host or scheme://host:port")]
#[non_exhaustive]
pub struct OriginError(String);

impl Origins {
    /// The service's own origin alone.
    pub fn same() -> Self {
        Self::default()
    }

    /// Every origin. Any page on the web may then act with the cookies of whoever looks at it.
    pub fn any() -> Self {
        Self { named: Vec::new(), any: true }
    }

    /// Also this origin, such as `https://app.example`; `null` means pages without one.
    ///
    /// # Errors
    /// If the text is not an origin.
    pub fn allow(mut self, origin: &str) -> Result<Self, OriginError> {
        self.named.push(Named::parse(origin).ok_or_else(|| OriginError(origin.to_owned()))?);
        Ok(self)
    }

    /// Whether a request may be served.
    ///
    /// # Errors
    /// Why not, for the log.
    pub(crate) fn check(&self, head: &Parts) -> Result<(), String> {
        let mut origins = head.headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            let refused = !self.any && is_part_of_another_sites_page(&head.headers);
            return if refused { Err("it is a part of another site's page".to_owned()) } else { Ok(()) };
        };
        if origins.next().is_some() {
            return Err("it names several origins".to_owned());
        }
        if self.any || browser_vouches(&head.headers) {
            return Ok(());
        }
        // What is no origin is not repeated: nobody knows what it is.
        let Some(origin) = origin.to_str().ok().and_then(Named::parse) else {
            return Err("what it names is no origin".to_owned());
        };
        if self.named.contains(&origin) || origin.is_of(head) {
            return Ok(());
        }
        Err(format!("{origin} is neither the service's own origin nor one that is allowed"))
    }

    /// The answer to a preflight (Fetch §3.2.2), which asks for no session and no credentials.
    pub(crate) fn preflight(head: &Parts, methods: &'static str) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(http::header::ALLOW, HeaderValue::from_static(methods));
        if head.headers.contains_key(ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type, last-event-id"),
            );
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        }
        response
    }

    /// Lets the page at an allowed origin read the answer.
    pub(crate) fn mark(request: &HeaderMap, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = request.get(ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A name has 253 characters at most (RFC 1035 §2.3.4); whatever is longer is none.
            Self::Tuple(Tuple { scheme, host, port }) => write!(f, "{scheme:.32}://{host:.253}:{port}"),
            Self::Null => f.write_str("null"),
        }
    }
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let uri: Uri = text.parse().ok()?;
        let parts = uri.into_parts();
        let (scheme, authority) = (parts.scheme?, parts.authority?);
        // An origin has no path and no user; the parser reads an absent path as "/".
        if parts.path_and_query.is_some_and(|path| path != "/")
            || text.ends_with('/')
            || authority.as_str().contains('@')
        {
            return None;
        }
        Some(Self::Tuple(Tuple {
            host: authority.host().to_ascii_lowercase(),
            // Pages of applications have schemes of their own and no port: capacitor://localhost.
            port: authority.port_u16().or_else(|| default_port(scheme.as_str())).unwrap_or(0),
            scheme: scheme.as_str().to_ascii_lowercase(),
        }))
    }

    /// Whether it is the origin that the request itself was sent to. A proxy may have taken off the TLS, so the
    /// scheme is the page's own word; it decides which port goes without saying.
    fn is_of(&self, head: &Parts) -> bool {
        let Self::Tuple(tuple) = self else { return false };
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = match head.uri.authority() {
            Some(authority) => Some(authority.clone()),
            None => host.and_then(|host| host.parse().ok()),
        };
        authority.is_some_and(|authority| {
            let port = authority.port_u16().or_else(|| default_port(&tuple.scheme));
            authority.host().eq_ignore_ascii_case(&tuple.host) && port == Some(tuple.port)
        })
    }
}

/// Whether the browser itself says that the page is of the origin that it sends to, whatever became of the `Host`.
fn browser_vouches(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.next().is_some_and(|site| site == "same-origin") && sites.next().is_none()
}

/// Whether the browser says that another site's page has asked without showing its origin, and for a part of itself: an image, say.
/// The page gets to see nothing of it, but it would be asked for with the user's cookies and count as the user's.
fn is_part_of_another_sites_page(headers: &HeaderMap) -> bool {
    let is =
        |name, values: &[&str]| headers.get_all(name).iter().any(|value| values.iter().any(|is| value == is));
    // Whoever follows a link looks at it alone.
    is("sec-fetch-site", &["cross-site", "same-site"]) && !is("sec-fetch-mode", &["navigate"])
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(origins: &Origins, host: &str, sent: &[&str]) -> bool {
        let mut request = http::Request::get("/realtime/ws").header("host", host);
        for origin in sent {
            request = request.header("origin", *origin);
        }
        origins.check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn behind_a_proxy_that_sets_its_own_host_the_browser_is_asked() {
        let allows = |sites: &[&str]| {
            let mut request = http::Request::post("/realtime/send")
                .header("host", "127.0.0.1:8080")
                .header("origin", "https://own.example");
            for site in sites {
                request = request.header("sec-fetch-site", *site);
            }
            Origins::same().check(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        assert!(allows(&["same-origin"]));
        for bad in
            [&["same-site"][..], &["cross-site"], &["none"], &["same-origin", "cross-site"], &[""], &[]]
        {
            assert!(!allows(bad), "{bad:?}");
        }
    }

    #[test]
    fn origins_are_compared_by_scheme_host_and_effective_port() {
        let origins = Origins::same().allow("https://a.example:443").unwrap();
        for good in ["https://a.example", "https://A.EXAMPLE", "https://a.example:443", "http://own:8080"] {
            assert!(allows(&origins, "own:8080", &[good]), "{good}");
        }
        for bad in [
            "https://a.example:8443",
            "http://a.example",
            "https://a.example.evil.test",
            "https://evil-a.example",
            "null",
            "garbage",
            "",
            "https://a.example/",
            "http://own:8081",
            "http://own",
            "https://u@a.example",
        ] {
            assert!(!allows(&origins, "own:8080", &[bad]), "{bad:?}");
        }
        assert!(!allows(&origins, "own", &["https://a.example", "https://a.example"]));
        assert!(allows(&origins, "own", &[]), "only browsers have an origin");
        assert!(allows(&origins, "own", &["https://own"]));
        assert!(allows(&Origins::same().allow("null").unwrap(), "own", &["null"]));
        assert!(Origins::same().allow("a.example").is_err());
        assert!(allows(
            &Origins::same().allow("capacitor://localhost").unwrap(),
            "own",
            &["capacitor://localhost"]
        ));
        assert!(allows(&Origins::any(), "own", &["chrome-extension://abcdef"]));
    }
}
