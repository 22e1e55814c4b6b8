//! A JWKS file (RFC 7517, RFC 7518 section 6.2).

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{KeyProblem, KeySet, VerifyKey};

#[derive(Deserialize)]
struct Jwks {
    /// Read one by one, so that one of a wrong shape does not spoil the others.
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
}

/// Adds the usable keys of a JWKS to `set`, and a note for each other one (RFC 7517 section 5:
/// implementations should ignore keys that they cannot use).
pub(super) fn read(text: &str, path: &Path, set: &mut KeySet) -> Result<(), KeyProblem> {
    let jwks: Jwks = serde_json::from_str(text).map_err(|error| KeyProblem::NotJwks {
        // Without the position and the offending text: only what kind of thing is wrong.
        detail: match error.classify() {
            serde_json::error::Category::Data => "it needs `{\"keys\": [...]}`".into(),
            _ => format!("the JSON is broken in line {}", error.line()),
        },
    })?;
    let mut notes = Vec::new();
    let mut keys = Vec::new();
    for (index, member) in jwks.keys.iter().enumerate() {
        match key(member, path) {
            Ok(key) => keys.push(key),
            Err(why) => notes.push(format!("{} is left out: {why}", name(index, member))),
        }
    }
    if keys.is_empty() {
        return Err(KeyProblem::NoneUsable {
            notes: match notes.is_empty() {
                true => "; its `keys` are empty".into(),
                false => format!(": {}", notes.join("; ")),
            },
        });
    }
    keys.into_iter().for_each(|key| set.add(key));
    set.notes
        .extend(notes.into_iter().map(|note| format!("{}: {note}", path.display())));
    Ok(())
}

/// The key of a member, or why it cannot be used. Nothing of a private key is repeated.
fn key(member: &serde_json::Value, path: &Path) -> Result<VerifyKey, String> {
    if member.get("d").is_some() {
        let label = "the JWK member `d`".into();
        return Err(KeyProblem::PrivateKey { label }.to_string());
    }
    let jwk = Jwk::deserialize(member).map_err(|_| "a member is missing or has the wrong type".to_owned())?;
    if let Some(why) = unusable(&jwk) {
        return Err(why);
    }
    let point = point(&jwk).ok_or_else(|| KeyProblem::NotOnCurve.to_string())?;
    VerifyKey::from_point(jwk.kid, &point, path).map_err(|problem| problem.to_string())
}

fn name(index: usize, member: &serde_json::Value) -> String {
    match member.get("kid").and_then(serde_json::Value::as_str) {
        Some(kid) => format!("key {} (kid {kid:?})", index + 1),
        None => format!("key {}", index + 1),
    }
}

fn unusable(jwk: &Jwk) -> Option<String> {
    if jwk.kty != "EC" {
        return Some(format!("its kty is {:?}, not \"EC\"", jwk.kty));
    }
    if jwk.crv.as_deref() != Some("P-256") {
        return Some("its crv is not \"P-256\"".into());
    }
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Some("its use is not \"sig\"".into());
    }
    if jwk.alg.as_deref().is_some_and(|alg| alg != "ES256") {
        return Some("its alg is not \"ES256\"".into());
    }
    if let Some(operations) = &jwk.key_ops
        && !operations.iter().any(|operation| operation == "verify")
    {
        return Some("its key_ops lack \"verify\"".into());
    }
    None
}

fn point(jwk: &Jwk) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [&jwk.x, &jwk.y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate.as_deref()?).ok()?;
        if bytes.len() != 32 {
            return None;
        }
        point.extend_from_slice(&bytes);
    }
    Some(point)
}
