//! Values and keys as people read them.

use std::borrow::Cow;

/// A value for a person to read: quoted, short, on one line, without secrets.
pub(crate) fn quote(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let text = mask(text);
    if text.chars().count() <= MAX_CHARS {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MAX_CHARS).collect();
    format!("{:?}", format!("{start}…"))
}

/// Hides what may be secret in a value: the password in a URL, a token, and key material that
/// was pasted in place of a path. Paths of keys are not secret.
pub(crate) fn mask(text: &str) -> Cow<'_, str> {
    let is_token = text.starts_with("eyJ") && text.matches('.').count() == 2;
    if is_token || text.contains("-----BEGIN") {
        return Cow::Borrowed("***");
    }
    let Some(scheme_end) = text.find("://") else {
        return Cow::Borrowed(text);
    };
    let (scheme, rest) = text.split_at(scheme_end + 3);
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let tail = mask_parameters(tail);
    match authority
        .rsplit_once('@')
        .and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((user, host)) => Cow::Owned(format!("{scheme}{user}:***@{host}{tail}")),
        None => Cow::Owned(format!("{scheme}{authority}{tail}")),
    }
}

/// Hides the values of parameters that have a secret's name.
fn mask_parameters(tail: &str) -> String {
    let is_secret = |key: &str| {
        let key = percent_encoding::percent_decode_str(key)
            .decode_utf8_lossy()
            .to_lowercase();
        ["password", "secret", "token"].iter().any(|name| key.ends_with(name))
    };
    let Some((path, query)) = tail.split_once('?') else {
        return tail.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// ` (did you mean "x"?)`, or nothing when no candidate is near.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!(" (did you mean \"{near}\"?)"))
}

/// The candidate most like `word`, if any is like it at all.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const MIN_SIMILARITY: f64 = 0.6;
    const MAX_WORD_BYTES: usize = 100;
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Parsers' messages may take several lines; a problem takes one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
