use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::{Claims, Host, Malformed, Node, Scheme, address, outermost};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What `X-Forwarded-For`, `-Proto` and `-Host` say.
pub(super) fn claims(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Claims, Malformed> {
    let hops = list(headers, &FOR)?;
    let nodes = hops.iter().rev().map(|hop| address(hop).map(Node::Address));
    let Some((place, client_ip)) = outermost(nodes, trusted)? else {
        // A proxy that says nothing of its client may still say what was asked for.
        return Ok(Claims {
            client_ip: None,
            scheme: only(&list(headers, &PROTO)?)?.map(Scheme::parse).transpose()?,
            host: only(&list(headers, &HOST)?)?.map(Host::parse).transpose()?,
        });
    };
    let pick = |name| match_up(list(headers, name)?, hops.len(), place);
    Ok(Claims {
        client_ip,
        scheme: pick(&PROTO)?.map(Scheme::parse).transpose()?,
        host: pick(&HOST)?.map(Host::parse).transpose()?,
    })
}

/// Proxies either set these two or add to them as they add to `-For`; a list of any other
/// length cannot be matched with the hops.
fn match_up(list: Vec<&str>, hops: usize, place: usize) -> Result<Option<&str>, Malformed> {
    if list.len() == hops {
        return Ok(list.into_iter().rev().nth(place));
    }
    only(&list)
}

fn only<'a>(list: &[&'a str]) -> Result<Option<&'a str>, Malformed> {
    match list {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        _ => Err(Malformed),
    }
}

/// The elements of a list header, all its lines taken together (RFC 9110, section 5.3).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Malformed> {
    let mut elements = Vec::new();
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| Malformed)?;
        elements.extend(line.split(',').map(|element| element.trim_matches([' ', '\t'])));
    }
    Ok(elements)
}
