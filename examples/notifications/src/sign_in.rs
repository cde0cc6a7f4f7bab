//! Who is signed in: a name in a signed cookie.

use anyhow::ensure;
use axum::{
    Json,
    extract::{FromRef, State},
    http::{HeaderMap, StatusCode},
};
use axum_extra::extract::{
    SignedCookieJar,
    cookie::{Cookie, Key, SameSite},
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The key of the cookies. Cloning it is cheap enough: it is 64 bytes.
#[derive(Clone)]
pub(crate) struct Cookies(Key);

impl Cookies {
    /// From a secret, or from a random one.
    pub(crate) fn new(secret: Option<&str>) -> anyhow::Result<Self> {
        let Some(secret) = secret else { return Ok(Self(Key::generate())) };
        ensure!(secret.len() >= 32, "a secret has 32 bytes or more, this one has {}", secret.len());
        Ok(Self(Key::derive_from(secret.as_bytes())))
    }

    /// The user whom a request's cookie names. It was signed by us, so it is a name.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Option<String> {
        let jar = SignedCookieJar::from_headers(headers, self.0.clone());
        Some(jar.get(COOKIE)?.value().to_owned())
    }
}

impl FromRef<Cookies> for Key {
    fn from_ref(cookies: &Cookies) -> Self {
        cookies.0.clone()
    }
}

/// What a page begins with.
#[derive(Serialize)]
pub(crate) struct Me {
    user: Option<String>,
    /// The server's time, which is the time of notifications.
    now: u64,
}

/// What it takes to sign in; an application asks for more than a name.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    name: String,
}

pub(crate) async fn me(State(cookies): State<Cookies>, headers: HeaderMap) -> Json<Me> {
    Json(Me { user: cookies.user(&headers), now: now() })
}

/// Takes JSON, which a form of another site cannot send.
pub(crate) async fn sign_in(
    jar: SignedCookieJar,
    Json(SignIn { name }): Json<SignIn>,
) -> Result<(SignedCookieJar, StatusCode), (StatusCode, &'static str)> {
    let Some(name) = user_name(&name) else { return Err((StatusCode::BAD_REQUEST, NAME_RULE)) };
    // An application that is reached over TLS adds `.secure(true)`.
    let cookie = Cookie::build((COOKIE, name)).path("/").http_only(true).same_site(SameSite::Lax);
    Ok((jar.add(cookie), StatusCode::NO_CONTENT))
}

pub(crate) async fn sign_out(jar: SignedCookieJar) -> (SignedCookieJar, StatusCode) {
    (jar.remove(Cookie::build(COOKIE).path("/")), StatusCode::NO_CONTENT)
}

/// A user's name from what somebody typed.
pub(crate) fn user_name(typed: &str) -> Option<String> {
    let name = typed.trim().to_ascii_lowercase();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && (1..=LONGEST_NAME).contains(&name.len())).then_some(name)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_millis() as u64
}

pub(crate) const NAME_RULE: &str = "a name has 1 to 32 letters, digits and hyphens";
const LONGEST_NAME: usize = 32;
const COOKIE: &str = "notifications-user";

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{http::header::COOKIE as COOKIES, response::IntoResponse};

    #[test]
    fn names_become_the_same_however_they_are_typed() {
        assert_eq!(user_name(" Alice-2\n").as_deref(), Some("alice-2"));
        for bad in ["", "  ", "a/b", "a b", "ä", &"a".repeat(33)] {
            assert_eq!(user_name(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_cookie_is_good_as_long_as_its_secret() {
        let secret = Some("0123456789abcdef0123456789abcdef");
        let jar = SignedCookieJar::new(Cookies::new(secret).unwrap().0);
        let answer = sign_in(jar, Json(SignIn { name: "Alice".to_owned() })).await.into_response();
        let set = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
        let user = |secret, cookie: &str| {
            let headers = HeaderMap::from_iter([(COOKIES, cookie.parse().unwrap())]);
            Cookies::new(secret).unwrap().user(&headers)
        };
        let (signed, _) = set.split_once(';').unwrap();
        assert_eq!(user(secret, signed).as_deref(), Some("alice"));
        assert_eq!(user(None, signed), None);
        assert_eq!(user(secret, &format!("{COOKIE}=alice")), None);
        assert!(Cookies::new(Some("short")).is_err());
    }
}
