//! What a client asks for.

use crate::{Event, EventName, From, Position, RoomName};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// What a client asks for: the JSON objects it sends up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Enter a room.
    Join {
        /// Comes back in the answer.
        reference: Option<u64>,
        /// The room.
        room: RoomName,
        /// Where to begin.
        from: From,
    },
    /// Leave a room.
    Leave {
        /// Comes back in the answer.
        reference: Option<u64>,
        /// The room.
        room: RoomName,
    },
    /// Publish an event.
    Publish {
        /// Comes back in the answer.
        reference: Option<u64>,
        /// The room.
        room: RoomName,
        /// The event.
        event: Event,
        /// Publishing again with the same key publishes nothing and answers the same position.
        key: Option<String>,
        /// Whether the session that publishes is given the event, too.
        echo: bool,
    },
    /// Call a method of the application.
    Call {
        /// Comes back in the answer.
        reference: Option<u64>,
        /// The method.
        method: String,
        /// Its arguments.
        data: Box<RawValue>,
    },
    /// Show who it is, anew.
    Auth {
        /// Comes back in the answer.
        reference: Option<u64>,
        /// What is shown.
        token: Token,
    },
    /// Say something: a page cannot see the pings of its WebSocket.
    Ping {
        /// Comes back in the answer.
        reference: Option<u64>,
    },
}

/// A secret that says who somebody is. It does not show itself, for what has a command in it may be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why a text is no command. The session goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CommandError {
    /// The reference, where one could be read.
    pub reference: Option<u64>,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The outer shape: one flat struct, so that a wrong field is told by its name and the reference is known
/// whatever else is wrong.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(rename = "ref", default)]
    reference: Option<u64>,
    #[serde(borrow, default)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    from: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
    #[serde(default)]
    echo: Option<bool>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

impl CommandError {
    /// Binary data came where commands of JSON text are taken.
    pub fn binary() -> Self {
        Self {
            reference: None,
            code: "bad_command",
            message: "a command is a text message; this one was binary".to_owned(),
        }
    }
}

impl Command {
    /// What comes back in the answer.
    pub fn reference(&self) -> Option<u64> {
        match self {
            Self::Join { reference, .. }
            | Self::Leave { reference, .. }
            | Self::Publish { reference, .. }
            | Self::Call { reference, .. }
            | Self::Auth { reference, .. }
            | Self::Ping { reference } => *reference,
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Publish { .. } => "publish",
            Self::Call { .. } => "call",
            Self::Auth { .. } => "auth",
            Self::Ping { .. } => "ping",
        }
    }

    /// Reads one command from JSON text.
    ///
    /// # Errors
    /// `bad_json`, `bad_command`, `bad_room`, `bad_event`, `bad_cursor` or `bad_key`, with what was wrong.
    pub fn parse(text: &[u8]) -> Result<Self, CommandError> {
        if text.trim_ascii_start().first() == Some(&b'[') {
            // A list of values is no object, although its values might be taken for fields in their order.
            return Err(CommandError {
                reference: None,
                code: "bad_command",
                message: "a command is a JSON object; this is an array".to_owned(),
            });
        }
        let raw: Raw<'_> = serde_json::from_slice(text).map_err(|error| CommandError {
            reference: None,
            code: if error.is_data() { "bad_command" } else { "bad_json" },
            message: format!("not a command: {}", told(&error)),
        })?;
        let reference = raw.reference;
        raw.into_command().map_err(|(code, message)| CommandError { reference, code, message })
    }

    /// Reads one command or an array of them: the body of a request.
    ///
    /// # Errors
    /// Where the text is neither, or has more than `max` commands, in full; else each command on its own.
    pub fn parse_many(text: &[u8], max: usize) -> Result<Vec<Result<Self, CommandError>>, CommandError> {
        if text.trim_ascii_start().first() != Some(&b'[') {
            return Ok(vec![Self::parse(text)]);
        }
        let raws: Vec<&RawValue> = serde_json::from_slice(text).map_err(|error| CommandError {
            reference: None,
            code: "bad_json",
            message: format!("not an array of commands: {}", told(&error)),
        })?;
        if raws.len() > max {
            return Err(CommandError {
                reference: None,
                code: "too_many",
                message: format!("{} commands in one request, at most {max} are taken", raws.len()),
            });
        }
        Ok(raws.into_iter().map(|raw| Self::parse(raw.get().as_bytes())).collect())
    }
}

type Wrong = (&'static str, String);

impl Raw<'_> {
    fn into_command(self) -> Result<Command, Wrong> {
        let reference = self.reference;
        match &*self.kind {
            "join" => Ok(Command::Join { reference, room: self.room()?, from: self.from()? }),
            "leave" => Ok(Command::Leave { reference, room: self.room()? }),
            "publish" => {
                let room = self.room()?;
                let name = need("event", self.event.as_deref())?;
                let name = EventName::new(name).map_err(|error| ("bad_event", error.to_string()))?;
                let key = self.key()?;
                let data = self.data.unwrap_or_else(|| RawValue::NULL.to_owned());
                let (event, echo) = (Event::from_raw(name, data), self.echo.unwrap_or(true));
                Ok(Command::Publish { reference, room, event, key, echo })
            }
            "call" => Ok(Command::Call {
                reference,
                method: need("method", self.method.as_deref())?.to_owned(),
                data: self.data.unwrap_or_else(|| RawValue::NULL.to_owned()),
            }),
            "auth" => Ok(Command::Auth { reference, token: self.token()? }),
            "ping" => Ok(Command::Ping { reference }),
            "" => Err(("bad_command", "the field \"type\" is missing".to_owned())),
            other => Err(("bad_command", format!("unknown type {:?}", shorten(other)))),
        }
    }

    fn room(&self) -> Result<RoomName, Wrong> {
        RoomName::new(need("room", self.room.as_deref())?).map_err(|error| ("bad_room", error.to_string()))
    }

    fn from(&self) -> Result<From, Wrong> {
        match self.from.as_deref() {
            None | Some("now") => Ok(From::Now),
            Some("start") => Ok(From::Start),
            Some(text) => {
                text.parse::<Position>().map(From::After).map_err(|error| ("bad_cursor", error.to_string()))
            }
        }
    }

    fn token(&self) -> Result<Token, Wrong> {
        match need("token", self.token.as_deref())? {
            token if token.is_empty() || token.len() > TOKEN_MAX => {
                Err(("bad_command", format!("a token has 1 to {TOKEN_MAX} bytes")))
            }
            token => Ok(Token(token.to_owned())),
        }
    }

    fn key(&self) -> Result<Option<String>, Wrong> {
        match self.key.as_deref() {
            Some(key) if key.is_empty() || key.len() > KEY_MAX => {
                Err(("bad_key", format!("an idempotency key has 1 to {KEY_MAX} bytes")))
            }
            key => Ok(key.map(str::to_owned)),
        }
    }
}

fn need<'a>(field: &str, value: Option<&'a str>) -> Result<&'a str, Wrong> {
    value.ok_or_else(|| ("bad_command", format!("the field {field:?} is missing")))
}

/// What a peer sent goes back in an error only as far as it helps.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What is wrong with a JSON text: of a long report the beginning and the end, for serde quotes a value of the wrong
/// type in full, and escaped, which may be many times what the peer has sent.
pub(crate) fn told(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let cut = |n: usize| whole.char_indices().nth(n).map(|(at, _)| at);
    let end = whole.char_indices().nth_back(TOLD_END - 1).map(|(at, _)| at);
    match (cut(TOLD_BEGIN), end) {
        (Some(begin), Some(end)) if begin < end => format!("{} … {}", &whole[..begin], &whole[end..]),
        _ => whole,
    }
}

/// Characters of a long report: the kind of value and its beginning, then what was expected and where.
const TOLD_BEGIN: usize = 100;
const TOLD_END: usize = 100;

/// Room for a client id and a counter, or a UUID.
const KEY_MAX: usize = 100;
/// More than common servers take as a header field, where a token has its usual place.
const TOKEN_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        Command::parse(text.as_bytes()).unwrap_err().code
    }

    #[test]
    fn what_is_wrong_with_a_command_has_a_code() {
        assert_eq!(code("{"), "bad_json");
        assert_eq!(code("[]"), "bad_command");
        assert_eq!(code("7"), "bad_command");
        assert_eq!(code(r#"["leave",1,"a"]"#), "bad_command");
        assert_eq!(code("{}"), "bad_command");
        assert_eq!(code(r#"{"type":"dance"}"#), "bad_command");
        assert_eq!(code(r#"{"type":"join"}"#), "bad_command");
        assert_eq!(code(r#"{"type":"join","room":""}"#), "bad_room");
        assert_eq!(code(r#"{"type":"join","room":"a","from":"x"}"#), "bad_cursor");
        assert_eq!(code(r#"{"type":"join","room":"a","ref":-1}"#), "bad_command");
        assert_eq!(code(r#"{"type":"publish","room":"a"}"#), "bad_command");
        assert_eq!(code(r#"{"type":"publish","room":"a","event":"a\nb"}"#), "bad_event");
        assert_eq!(code(r#"{"type":"publish","room":"a","event":"e","key":""}"#), "bad_key");
        assert_eq!(code(r#"{"type":"call"}"#), "bad_command");
        assert_eq!(code(r#"{"type":"auth"}"#), "bad_command");
        assert_eq!(code(r#"{"type":"auth","token":""}"#), "bad_command");
        assert_eq!(
            code(&format!(r#"{{"type":"auth","token":"{}"}}"#, "a".repeat(TOKEN_MAX + 1))),
            "bad_command"
        );
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let command = Command::parse(br#"{"type":"auth","ref":1,"token":"QxZ7secret"}"#).unwrap();
        let Command::Auth { reference: Some(1), token } = &command else { panic!("{command:?}") };
        assert_eq!(token.as_str(), "QxZ7secret");
        assert!(!format!("{command:?}").contains("QxZ7"));
    }

    #[test]
    fn a_long_value_does_not_come_back_in_full() {
        let long = "\u{7f}".repeat(10_000);
        for text in
            [format!("\"{long}\""), format!(r#"{{"type":"join","ref":"{long}"}}"#), format!("[{long}")]
        {
            for error in [
                Command::parse(text.as_bytes()).unwrap_err(),
                Command::parse_many(text.as_bytes(), 2)
                    .map_or_else(|error| error, |mut many| many.remove(0).unwrap_err()),
            ] {
                assert!(error.message.chars().count() < 300, "{} bytes", error.message.len());
                assert!(error.message.contains(" at line 1 column ") || error.code == "bad_command");
            }
        }
        assert_eq!(
            Command::parse(b"\"x\"").unwrap_err().message,
            "not a command: invalid type: string \"x\", expected struct Raw at line 1 column 3"
        );
    }

    #[test]
    fn the_reference_comes_back_with_an_error() {
        let error = Command::parse(br#"{"ref":9,"type":"join","room":"\u0000"}"#).unwrap_err();
        assert_eq!((error.reference, error.code), (Some(9), "bad_room"));
    }

    #[test]
    fn a_payload_keeps_its_bytes() {
        let text = br#"{"type":"publish","room":"a","event":"e","data":{"b" : 1e2, "a":[ ]}}"#;
        let Command::Publish { event, .. } = Command::parse(text).unwrap() else { panic!() };
        assert_eq!(event.data(), &br#"{"b" : 1e2, "a":[ ]}"#[..]);
    }

    #[test]
    fn an_array_holds_commands_each_right_or_wrong_on_its_own() {
        let many = Command::parse_many(br#" [{"type":"leave","room":"a"},{"type":"x"}]"#, 2).unwrap();
        assert!(many[0].is_ok() && many[1].is_err());
        assert_eq!(Command::parse_many(b"[{},{},{}]", 2).unwrap_err().code, "too_many");
        assert_eq!(Command::parse_many(b"[1,", 2).unwrap_err().code, "bad_json");
    }
}
