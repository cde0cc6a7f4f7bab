//! What a token says.

use serde_json::{Map, Value};
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidings_core::RoomName;

/// What a token says, once it is known to be good: the claims of an identity that [`JwtGate`](crate::JwtGate) has given.
///
/// ```
/// # use tidings_core::Identity;
/// # use tidings_jwt::Claims;
/// fn is_moderator(who: &Identity) -> bool {
///     who.claims::<Claims>().and_then(|claims| claims.get("role")).is_some_and(|role| role == "moderator")
/// }
/// ```
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(crate) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim, by its name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Who it is about, which must be somebody (RFC 7519 §4.1.2).
    pub(crate) fn subject(&self) -> Option<&str> {
        self.get("sub")?.as_str().filter(|subject| !subject.is_empty())
    }

    /// From when on it is good no more (RFC 7519 §4.1.4), if that is a time.
    pub(crate) fn expiry(&self, leeway: Duration) -> Option<SystemTime> {
        let seconds = Duration::try_from_secs_f64(self.get("exp")?.as_f64()?).ok()?;
        UNIX_EPOCH.checked_add(seconds.checked_add(leeway)?)
    }

    /// Whether a claim that is a list of rooms, or of beginnings of their names with a `*` behind, names this room.
    pub(crate) fn name_room(&self, claim: &str, room: &RoomName) -> bool {
        let patterns = self.get(claim).and_then(Value::as_array).into_iter().flatten();
        patterns.filter_map(Value::as_str).any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => room.as_str().starts_with(beginning),
            None => room.as_str() == pattern,
        })
    }
}

impl fmt::Debug for Claims {
    /// Shows their names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
