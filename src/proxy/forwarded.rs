//! The header `Forwarded` (RFC 7239).

use std::{borrow::Cow, net::Ipv6Addr};

use http::{HeaderMap, header};
use ipnet::IpNet;

use super::{
    chain::{Claims, Hop, address, first_untrusted},
    origin::{Host, Malformed, Scheme},
};
use crate::protocol::content_type::is_token_byte;

/// The parameters of one element that matter here.
#[derive(Debug, Default)]
struct Element<'a> {
    client: Option<Cow<'a, str>>,
    proto: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
}

pub(super) fn claims(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Claims, Malformed> {
    let mut elements = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        parse_line(line.to_str().map_err(|_| Malformed)?, &mut elements)?;
    }
    let hops = elements.iter().rev().map(|element| match &element.client {
        Some(client) => hop(client),
        // The parameter is optional; without it the chain ends here.
        None => Ok(Hop::Hidden),
    });
    let Some((index, client_ip)) = first_untrusted(hops, trusted)? else {
        return Ok(Claims::default());
    };
    let Some(element) = elements.iter().rev().nth(index) else {
        return Ok(Claims::default());
    };
    Ok(Claims {
        client_ip,
        scheme: element.proto.as_deref().map(Scheme::parse).transpose()?,
        host: element.host.as_deref().map(Host::parse).transpose()?,
    })
}

/// `node = nodename [ ":" node-port ]` (section 6).
fn hop(text: &str) -> Result<Hop, Malformed> {
    let name = text.split(':').next().unwrap_or(text);
    let obfuscated = |name: &str| {
        name.strip_prefix('_').is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
    };
    if name.eq_ignore_ascii_case("unknown") || obfuscated(name) {
        return Ok(Hop::Hidden);
    }
    // IPv6 needs brackets in this header.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Malformed);
    }
    address(text).map(Hop::Address)
}

/// `1#element`, `element = [ pair ] *( ";" [ pair ] )`, `pair = token "=" ( token / quoted-string )`.
fn parse_line<'a>(line: &'a str, elements: &mut Vec<Element<'a>>) -> Result<(), Malformed> {
    let mut rest = line;
    let mut element = Element::default();
    let mut empty = true;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            let (name, after) = token(rest)?;
            let (value, after) = value(after.strip_prefix('=').ok_or(Malformed)?)?;
            element.set(name, value)?;
            empty = false;
            rest = after.trim_start_matches([' ', '\t']);
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some(';') => {}
            end @ (Some(',') | None) => {
                // Empty list elements are ignored (RFC 9110, section 5.6.1).
                if !std::mem::replace(&mut empty, true) {
                    elements.push(std::mem::take(&mut element));
                }
                if end.is_none() {
                    return Ok(());
                }
            }
            Some(_) => return Err(Malformed),
        }
        rest = chars.as_str();
    }
}

impl<'a> Element<'a> {
    fn set(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Malformed> {
        let slot = match name {
            _ if name.eq_ignore_ascii_case("for") => &mut self.client,
            _ if name.eq_ignore_ascii_case("proto") => &mut self.proto,
            _ if name.eq_ignore_ascii_case("host") => &mut self.host,
            // `by`, and extensions.
            _ => return Ok(()),
        };
        // Each parameter at most once.
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Malformed),
        }
    }
}

fn token(text: &str) -> Result<(&str, &str), Malformed> {
    let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
    if end == 0 {
        Err(Malformed)
    } else {
        Ok(text.split_at(end))
    }
}

fn value(text: &str) -> Result<(Cow<'_, str>, &str), Malformed> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (Cow::Borrowed(value), rest));
    };
    let mut unescaped = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next().ok_or(Malformed)? {
            '"' => return Ok((Cow::Owned(unescaped), chars.as_str())),
            '\\' => unescaped.push(chars.next().ok_or(Malformed)?),
            other => unescaped.push(other),
        }
    }
}
