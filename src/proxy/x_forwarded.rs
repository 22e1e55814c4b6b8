//! The headers `X-Forwarded-For`, `-Proto` and `-Host`.

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::{
    chain::{Claims, Hop, address, first_untrusted},
    origin::{Host, Malformed, Scheme},
};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

pub(super) fn claims(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Claims, Malformed> {
    let list_of_hops = list(headers, &FOR)?;
    let hops = list_of_hops.iter().rev().map(|hop| address(hop).map(Hop::Address));
    let Some((index, client_ip)) = first_untrusted(hops, trusted)? else {
        // A proxy that does not name its client may still name the scheme and the host.
        return Ok(Claims {
            client_ip: None,
            scheme: only(&list(headers, &PROTO)?)?.map(Scheme::parse).transpose()?,
            host: only(&list(headers, &HOST)?)?.map(Host::parse).transpose()?,
        });
    };
    let pick = |name| element_of_hop(list(headers, name)?, list_of_hops.len(), index);
    Ok(Claims {
        client_ip,
        scheme: pick(&PROTO)?.map(Scheme::parse).transpose()?,
        host: pick(&HOST)?.map(Host::parse).transpose()?,
    })
}

/// Proxies either set `-Proto` and `-Host` or extend them like `-For`; a list of any other length
/// cannot be matched with the hops.
fn element_of_hop(list: Vec<&str>, hops: usize, index: usize) -> Result<Option<&str>, Malformed> {
    if list.len() == hops {
        return Ok(list.into_iter().rev().nth(index));
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

/// The elements of all lines of a list header (RFC 9110, section 5.3).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Malformed> {
    let mut elements = Vec::new();
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| Malformed)?;
        elements.extend(line.split(',').map(|element| element.trim_matches([' ', '\t'])));
    }
    Ok(elements)
}
