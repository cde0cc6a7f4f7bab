//! The gate.

use crate::Claims;
use http::header::COOKIE;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, errors::ErrorKind};
use serde_json::{Map, Value};
use std::{fmt, future::ready, time::Duration};
use tidings_core::{
    Denied, Event, Gate, Identity, RoomName,
    gate::{Decision, RequestHead, bearer},
};

/// A gate that takes JSON Web Tokens, however they come: in `Authorization`, as a subprotocol, by the command `auth`, or, if it
/// is said in [which](Self::cookie), in a cookie.
///
/// A token must be signed with a key of the gate's by that key's algorithm, have a `sub`, which is the user's name, and an `exp`: a
/// session ends when its token does, unless it shows another one before. One with an `nbf` is not good before that, and one
/// with an `aud` must be [for](Self::audience) this application. Every other claim is kept, as [`Claims`] of the identity.
#[derive(Clone)]
pub struct JwtGate {
    keys: Vec<(Algorithm, DecodingKey)>,
    /// For each key the same but for the algorithm.
    validation: Validation,
    audiences: Vec<String>,
    issuers: Vec<String>,
    leeway: Duration,
    cookie: Option<String>,
    rooms_claimed: bool,
}

/// Why a key is none for its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is a key of other algorithms.
    #[error("the key is none for {0:?}")]
    Family(Algorithm),
    /// It is a secret that can be found out by trying: RFC 7518 §3.2 wants as many bytes as the hash has.
    #[error("a secret for {algorithm:?} has {least} bytes or more, this one has {len}")]
    Short {
        /// The algorithm.
        algorithm: Algorithm,
        /// The bytes that it wants.
        least: usize,
        /// The bytes that there are.
        len: usize,
    },
}

impl JwtGate {
    /// A gate that takes tokens signed with this key by this algorithm, and by no other, whatever they say of themselves.
    ///
    /// # Errors
    /// If the key is none for the algorithm.
    pub fn new(algorithm: Algorithm, key: DecodingKey) -> Result<Self, KeyError> {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        let gate = Self {
            keys: Vec::new(),
            validation,
            audiences: Vec::new(),
            issuers: Vec::new(),
            leeway: Duration::ZERO,
            cookie: None,
            rooms_claimed: false,
        };
        gate.key(algorithm, key)
    }

    /// Takes tokens of another key too: while one takes the place of the other.
    ///
    /// # Errors
    /// If the key is none for the algorithm.
    pub fn key(mut self, algorithm: Algorithm, key: DecodingKey) -> Result<Self, KeyError> {
        if key.family() != algorithm.family() {
            return Err(KeyError::Family(algorithm));
        }
        if algorithm.family() == AlgorithmFamily::Hmac {
            let len = key.try_get_as_bytes().map_err(|_| KeyError::Family(algorithm))?.len();
            let least = match algorithm {
                Algorithm::HS256 => 32,
                Algorithm::HS384 => 48,
                _ => 64,
            };
            if len < least {
                return Err(KeyError::Short { algorithm, least, len });
            }
        }
        self.keys.push((algorithm, key));
        Ok(self)
    }

    /// Whom tokens are for (`aud`): only those that name it, or one of several, are taken. Unless set, only those that name
    /// nobody.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.to_owned());
        self.validation.set_audience(&self.audiences);
        self.validation.required_spec_claims.insert("aud".to_owned());
        self
    }

    /// Who issues tokens (`iss`): only those of this one, or of one of several, are taken. Anybody with the key unless set.
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuers.push(issuer.to_owned());
        self.validation.set_issuer(&self.issuers);
        self.validation.required_spec_claims.insert("iss".to_owned());
        self
    }

    /// For how much longer, and how much earlier, a token is good than it says, for clocks that differ; in whole seconds, at most
    /// five minutes, and none unless set. Sessions, too, last for so much longer.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        let seconds = leeway.as_secs().min(LONGEST_LEEWAY);
        self.leeway = Duration::from_secs(seconds);
        self.validation.leeway = seconds;
        self
    }

    /// In which cookie a token may come, where a request has no other. The pages that may use it are those of
    /// the service's [origins](https://docs.rs/tidings/latest/tidings/struct.Origins.html).
    #[must_use]
    pub fn cookie(mut self, name: &str) -> Self {
        self.cookie = Some(name.to_owned());
        self
    }

    /// Lets a client join the rooms alone that its token names in the claim `rooms`, and publish into those alone that it names in
    /// `publish`: `"rooms": ["news", "chat:*"], "publish": ["chat:*"]`. What a token does not name is not allowed; calls are. Without this
    /// whoever has a good token may enter every room and publish into it.
    #[must_use]
    pub fn rooms_claimed(mut self) -> Self {
        self.rooms_claimed = true;
        self
    }

    /// Who it is, by a token.
    ///
    /// # Errors
    /// If the token is not good. What is wrong with it, beside its being too old, is not told: only who forges one would want to
    /// know.
    pub fn identify(&self, token: &str) -> Result<Identity, Denied> {
        let mut reason = "the token is not good";
        for (algorithm, key) in &self.keys {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![*algorithm];
            match decode::<Map<String, Value>>(token, key, &validation) {
                Ok(good) => {
                    return self.known(Claims::new(good.claims)).ok_or_else(|| Denied::unauthorized(reason));
                }
                Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
                    reason = "the token has expired"
                }
                Err(_) => {}
            }
        }
        Err(Denied::unauthorized(reason))
    }

    fn known(&self, claims: Claims) -> Option<Identity> {
        let expiry = claims.expiry(self.leeway)?;
        Some(Identity::user(claims.subject()?).with_expiry(expiry).with_claims(claims))
    }

    fn in_cookie<'a>(&self, head: &'a RequestHead) -> Option<&'a str> {
        let name = self.cookie.as_deref()?;
        let lines = head.headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
        Some(value.trim())
    }

    fn judge(&self, who: &Identity, claim: &str, room: &RoomName, no: &str) -> Result<(), Denied> {
        let allows = |claims: &Claims| claims.name_room(claim, room);
        if !self.rooms_claimed || who.claims().is_some_and(allows) {
            Ok(())
        } else {
            Err(Denied::forbidden(no))
        }
    }
}

impl Gate for JwtGate {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        match bearer(head).or_else(|| self.in_cookie(head)) {
            Some(token) => self.token(token),
            None => Box::pin(ready(Err(Denied::unauthorized("a token is needed")))),
        }
    }

    fn token<'a>(&'a self, token: &'a str) -> Decision<'a, Identity> {
        Box::pin(ready(self.identify(token)))
    }

    fn join<'a>(&'a self, who: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        Box::pin(ready(self.judge(who, "rooms", room, "the token does not open this room")))
    }

    fn publish<'a>(&'a self, who: &'a Identity, room: &'a RoomName, _: &'a Event) -> Decision<'a> {
        Box::pin(ready(self.judge(who, "publish", room, "the token lets nobody publish here")))
    }
}

impl fmt::Debug for JwtGate {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.keys.iter().map(|(algorithm, _)| algorithm).collect();
        f.debug_struct("JwtGate")
            .field("algorithms", &algorithms)
            .field("audiences", &self.audiences)
            .field("issuers", &self.issuers)
            .field("leeway", &self.leeway)
            .field("cookie", &self.cookie)
            .field("rooms_claimed", &self.rooms_claimed)
            .finish_non_exhaustive()
    }
}

/// Seconds: RFC 7519 §4.1.4 speaks of a few minutes.
const LONGEST_LEEWAY: u64 = 300;

#[cfg(test)]
mod tests;
