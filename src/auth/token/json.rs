//! JSON objects without repeated members, at any depth.
//!
//! `serde_json` keeps the last of two equal members and other parsers the first, so the two would
//! disagree about what was signed (RFC 7515 section 4 and RFC 7519 section 4 let a verifier refuse).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::error::TokenError;

/// The members of an object. Tokens have a dozen, so a search beats a hash table.
#[derive(Debug)]
pub(super) struct Members(Vec<(String, Value)>);

impl Members {
    /// Parses one object; `None` for anything else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match serde_json::from_slice(bytes) {
            Ok(Unique::Object(members)) => Some(members),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// A member that must be a string if it is present. `label` names it in the error.
    pub(super) fn text(&self, name: &str, label: &'static str) -> Result<Option<&str>, TokenError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::WrongType(label)),
        }
    }

    fn is_unique(&self) -> bool {
        let mut names: Vec<_> = self.0.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair.first() != pair.last())
    }
}

enum Unique {
    Object(Members),
    Other(Value),
}

impl From<Unique> for Value {
    /// No claim is an object: a nested one is only checked.
    fn from(unique: Unique) -> Self {
        match unique {
            Unique::Object(_) => Self::Object(serde_json::Map::new()),
            Unique::Other(value) => value,
        }
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique::Other(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique::Other(Value::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique::Other(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique::Other(Value::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Unique, E> {
        Number::from_f64(value)
            .map(|number| Unique::Other(Value::Number(number)))
            .ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique::Other(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Unique>()? {
            items.push(item.into());
        }
        Ok(Unique::Other(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut members = Members(Vec::with_capacity(12));
        while let Some((name, value)) = map.next_entry::<String, Unique>()? {
            members.0.push((name, value.into()));
        }
        match members.is_unique() {
            true => Ok(Unique::Object(members)),
            false => Err(A::Error::custom("a repeated member")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"b":2,"a":1}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[1,{"b":[{"c":1,"c":2}]}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(Members::parse(text.as_bytes()).is_none(), "{text}");
        }
        let members = Members::parse(br#"{"a":{"b":1},"b":[{"b":"x"}],"c":"y"}"#).unwrap();
        assert_eq!(members.text("c", "c"), Ok(Some("y")));
        assert_eq!(members.text("a", "a"), Err(TokenError::WrongType("a")));
        assert_eq!(members.get("d"), None);
    }

    #[test]
    fn only_an_object_is_accepted() {
        for text in ["[]", "1", "null", "\"{}\"", "", "{", "{} {}", "{\"a\":1e999}"] {
            assert!(Members::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
