//! The query of a request, decoded.

use crate::Refusal;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The fields of a query, in order, names and values decoded (`application/x-www-form-urlencoded`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads the query of a URI.
    ///
    /// # Errors
    /// If something in it is not UTF-8 after decoding.
    pub fn parse(query: &'a str) -> Result<Self, Refusal> {
        let fields = query.split('&').filter(|field| !field.is_empty()).map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            Ok((decode(name)?, decode(value)?))
        });
        fields.collect::<Result<_, Refusal>>().map(Self)
    }

    /// The values of a field, in order.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The value of a field that may stand once.
    ///
    /// # Errors
    /// If it stands more than once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::of("bad_query", format!("{name:?} may stand once in the query"))),
        }
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let refuse = |_| Refusal::of("bad_query", "the query is not UTF-8");
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Ok(Cow::Owned(percent_decode_str(&spaced).decode_utf8().map_err(refuse)?.into_owned()));
    }
    percent_decode_str(text).decode_utf8().map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_counted() {
        let query = Query::parse("room=a%20b&room=c+d&x&wait=25&").unwrap();
        assert_eq!(query.all("room").collect::<Vec<_>>(), ["a b", "c d"]);
        assert_eq!(query.one("x").unwrap(), Some(""));
        assert_eq!(query.one("wait").unwrap(), Some("25"));
        assert_eq!(query.one("y").unwrap(), None);
        assert!(query.one("room").is_err());
        assert!(Query::parse("room=%ff").is_err());
    }
}
