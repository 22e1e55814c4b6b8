//! The types of values: how each is read.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::IpNet;

use super::{
    Data, Kind, Refusal, Setting, Value,
    text::{did_you_mean, quote},
    toml_value,
};

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            const KIND: Kind = Kind::Number;

            fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
                let refuse = |expected: &str| vec![Refusal::wrong_type(&value.data, expected)];
                let number: i128 = match &value.data {
                    Data::Integer(number) => Some(*number),
                    // As TOML does, untyped text may separate digits by `_`.
                    Data::Plain(text) => text.replace('_', "").parse().ok(),
                    _ => None,
                }
                .ok_or_else(|| refuse("a whole number"))?;
                Self::try_from(number).map_err(|_| refuse(&format!("a whole number from 0 to {}", Self::MAX)))
            }
        }
    )+};
}

whole_numbers!(u16, u32, u64, usize);

impl Setting for bool {
    const KIND: Kind = Kind::Flag;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        let found = match &value.data {
            Data::Bool(value) => Some(*value),
            Data::Plain(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        found.ok_or_else(|| vec![Refusal::wrong_type(&value.data, "true or false")])
    }
}

impl Setting for String {
    const KIND: Kind = Kind::Text;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        match value.data.as_text() {
            Some(text) if text.trim().is_empty() => Err(vec![Refusal::load("is empty")]),
            Some(text) => Ok(text.into()),
            None => Err(vec![Refusal::wrong_type(&value.data, "text")]),
        }
    }
}

impl Setting for PathBuf {
    const KIND: Kind = Kind::Path;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        match value.data.as_text() {
            Some("") => Err(vec![Refusal::load("is empty; it must be a path")]),
            Some(text) if text.contains('\0') => Err(vec![Refusal::load("holds a NUL")]),
            Some(text) => Ok(text.into()),
            None => Err(vec![Refusal::wrong_type(&value.data, "a path")]),
        }
    }
}

impl Setting for SocketAddr {
    const KIND: Kind = Kind::Socket;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        parsed(
            value,
            "an address with a port, such as \"0.0.0.0:4437\" or \"[::]:4437\"",
        )
    }
}

impl Setting for IpAddr {
    const KIND: Kind = Kind::Ip;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        parsed(value, "an IP address, such as \"10.0.0.5\"")
    }
}

impl Setting for IpNet {
    const KIND: Kind = Kind::Network;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        if let Some(Ok(address)) = value.data.as_text().map(str::parse::<IpAddr>) {
            return Ok(IpNet::from(address));
        }
        parsed(
            value,
            "an IP address or CIDR block, such as \"10.0.0.4\" or \"10.0.0.0/24\"",
        )
    }
}

/// An optional value; `DS_X=` in a compose file takes it away.
impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        match &value.data {
            Data::Plain(text) if text.is_empty() => Ok(None),
            _ => T::read(value).map(Some),
        }
    }
}

/// A list; one text is a list of one, and untyped text may hold several, separated by commas or
/// as a TOML array.
impl<T: Setting> Setting for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        let origin = &value.origin;
        let items = match &value.data {
            Data::List(items) => items.clone(),
            Data::Text(_) => vec![value.clone()],
            Data::Plain(text) if text.trim_start().starts_with('[') => {
                toml_value::list(text, origin).map_err(|refusal| vec![refusal])?
            }
            Data::Plain(text) => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                words
                    .map(|word| Value::new(Data::Plain(word.into()), origin.clone()))
                    .collect()
            }
            other => return Err(vec![Refusal::wrong_type(other, "a list")]),
        };
        let (mut read, mut refused) = (Vec::new(), Vec::new());
        for item in &items {
            match T::read(item) {
                Ok(item) => read.push(item),
                Err(refusals) => refused.extend(refusals.into_iter().map(|refusal| refusal.at(&item.origin))),
            }
        }
        if refused.is_empty() { Ok(read) } else { Err(refused) }
    }
}

/// Reads one of a fixed set of words.
pub(crate) fn choose<T: Copy>(data: &Data, choices: &[(&str, T)]) -> Result<T, Vec<Refusal>> {
    let words = || choices.iter().map(|(word, _)| *word);
    let all = words().collect::<Vec<_>>().join(", ");
    let Some(text) = data.as_word() else {
        return Err(vec![Refusal::wrong_type(data, &format!("one of {all}"))]);
    };
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let hint = did_you_mean(text, words());
        vec![Refusal::load(format!("{} is not one of {all}{hint}", quote(text)))]
    })
}

fn parsed<T: FromStr>(value: &Value, expected: &str) -> Result<T, Vec<Refusal>> {
    let Some(text) = value.data.as_text() else {
        return Err(vec![Refusal::wrong_type(&value.data, expected)]);
    };
    let malformed = |_| vec![Refusal::malformed(format!("{} is not {expected}", quote(text)))];
    text.trim().parse().map_err(malformed)
}
