//! Host names and origins.

/// Whether this is a host name as a certificate has it.
pub(super) fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len()) && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Whether this is `scheme://host` or `scheme://host:port`.
pub(super) fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    // The parser adds a path, so the text itself is compared.
    !authority.as_str().contains('@') && !authority.host().is_empty() && text == format!("{scheme}://{authority}")
}
