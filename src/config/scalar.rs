//! The types that fields are made of.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;

use super::{
    problem::{Refusal, Stage},
    schema::Scalar,
    value::{Data, quote},
};

/// A whole number of the given type; untyped text may separate digits by `_`, as TOML does.
fn whole<T: TryFrom<i128>>(data: &Data, largest: &str) -> Result<T, Refusal> {
    let number = match data {
        Data::Integer(number) => Some(*number),
        Data::Plain(text) => text.replace('_', "").parse().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| data.wrong_type("a whole number"))?;
    T::try_from(number).map_err(|_| data.wrong_type(&format!("a whole number from 0 to {largest}")))
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Scalar for $type {
            fn read(data: &Data) -> Result<Self, Refusal> {
                whole(data, &<$type>::MAX.to_string())
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_numbers!(u16, u32, u64, usize);

impl Scalar for bool {
    fn read(data: &Data) -> Result<Self, Refusal> {
        match data {
            Data::Bool(value) => Ok(*value),
            Data::Plain(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(true),
                "false" | "no" | "off" | "0" => Ok(false),
                _ => Err(data.wrong_type("true or false")),
            },
            _ => Err(data.wrong_type("true or false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for String {
    fn read(data: &Data) -> Result<Self, Refusal> {
        match data.as_text() {
            Some(text) if text.trim().is_empty() => Err(Refusal::new(Stage::Load, "is empty".into())),
            Some(text) => Ok(text.into()),
            None => Err(data.wrong_type("text")),
        }
    }

    fn show(&self) -> String {
        toml_text(self)
    }
}

impl Scalar for PathBuf {
    fn read(data: &Data) -> Result<Self, Refusal> {
        match data.as_text() {
            Some("") => Err(Refusal::new(Stage::Load, "is empty; it must be a path".into())),
            Some(text) if text.contains('\0') => Err(Refusal::new(Stage::Load, "holds a NUL".into())),
            Some(text) => Ok(text.into()),
            None => Err(data.wrong_type("a path")),
        }
    }

    fn show(&self) -> String {
        toml_text(&self.to_string_lossy())
    }
}

impl Scalar for SocketAddr {
    fn read(data: &Data) -> Result<Self, Refusal> {
        malformed(
            data,
            "an address with a port, such as \"0.0.0.0:4437\" or \"[::]:4437\"",
        )
    }

    fn show(&self) -> String {
        toml_text(&self.to_string())
    }
}

impl Scalar for IpAddr {
    fn read(data: &Data) -> Result<Self, Refusal> {
        malformed(data, "an IP address, such as \"10.0.0.5\"")
    }

    fn show(&self) -> String {
        toml_text(&self.to_string())
    }
}

impl Scalar for IpNet {
    fn read(data: &Data) -> Result<Self, Refusal> {
        const EXPECTED: &str = "an IP address or CIDR block, such as \"10.0.0.4\" or \"10.0.0.0/24\"";
        if let Some(Ok(address)) = data.as_text().map(str::parse::<IpAddr>) {
            return Ok(IpNet::from(address));
        }
        malformed(data, EXPECTED)
    }

    fn show(&self) -> String {
        toml_text(&self.to_string())
    }
}

/// Text that is the right type for the file but not for the field is the validation's
/// business, as the troubleshooting of the documentation has it.
fn malformed<T: std::str::FromStr>(data: &Data, expected: &str) -> Result<T, Refusal> {
    let Some(text) = data.as_text() else {
        return Err(data.wrong_type(expected));
    };
    text.trim()
        .parse()
        .map_err(|_| Refusal::new(Stage::Validate, format!("{} is not {expected}", quote(text))))
}

/// Text in TOML, with what is secret masked.
pub(super) fn toml_text(text: &str) -> String {
    toml::Value::String(super::value::mask(text).into_owned()).to_string()
}
