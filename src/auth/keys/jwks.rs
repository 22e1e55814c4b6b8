//! JWKS files (RFC 7517, RFC 7518 section 6.2).

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use serde::Deserialize;
use serde_json::Value;

use super::{error::KeyProblem, verify_key::VerifyKey};

/// The members, not yet parsed: one of a wrong shape must not spoil the others.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The usable keys of a JWKS, and a note for each other member (RFC 7517 section 5:
/// implementations should ignore keys that they cannot use).
pub(super) fn parse(text: &str, path: &Path) -> Result<(Vec<VerifyKey>, Vec<String>), KeyProblem> {
    let jwks: Jwks = serde_json::from_str(text).map_err(|error| KeyProblem::NotJwks {
        // Not serde's text, which quotes the file.
        detail: match error.classify() {
            serde_json::error::Category::Data => "it needs `{\"keys\": [...]}`".into(),
            _ => format!("the JSON is broken in line {}", error.line()),
        },
    })?;
    let (mut keys, mut notes) = (Vec::new(), Vec::new());
    for (index, member) in jwks.keys.iter().enumerate() {
        match key(member, path) {
            Ok(key) => keys.push(key),
            Err(reason) => notes.push(format!("{} is left out: {reason}", name(index, member))),
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
    let notes = notes.into_iter().map(|note| format!("{}: {note}", path.display()));
    Ok((keys, notes.collect()))
}

/// The key of a member, or the reason why it cannot be used, which never quotes a private key.
fn key(member: &Value, path: &Path) -> Result<VerifyKey, String> {
    if member.get("d").is_some() {
        let label = "the JWK member `d`".into();
        return Err(KeyProblem::PrivateKey { label }.to_string());
    }
    let malformed = "a member is missing or has the wrong type";
    let jwk = Jwk::deserialize(member).map_err(|_| malformed)?;
    let AlgorithmParameters::EllipticCurve(parameters) = &jwk.algorithm else {
        let text = |name| member.get(name).and_then(Value::as_str);
        return Err(match (text("kty"), text("crv")) {
            (Some("EC"), Some(crv)) if crv != "P-256" => "its crv is not \"P-256\"".into(),
            (Some("EC") | None, _) => malformed.into(),
            (Some(kty), _) => format!("its kty is {kty:?}, not \"EC\""),
        });
    };
    if let Some(reason) = unusable(&jwk, parameters) {
        return Err(reason.into());
    }
    let point = point(parameters).ok_or_else(|| KeyProblem::NotOnCurve.to_string())?;
    VerifyKey::from_point(jwk.common.key_id, &point, path).map_err(|problem| problem.to_string())
}

fn name(index: usize, member: &Value) -> String {
    match member.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("key {} (kid {kid:?})", index + 1),
        None => format!("key {}", index + 1),
    }
}

fn unusable(jwk: &Jwk, parameters: &EllipticCurveKeyParameters) -> Option<&'static str> {
    let common = &jwk.common;
    if parameters.curve != EllipticCurve::P256 {
        return Some("its crv is not \"P-256\"");
    }
    if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Some("its use is not \"sig\"");
    }
    if !matches!(common.key_algorithm, None | Some(KeyAlgorithm::ES256)) {
        return Some("its alg is not \"ES256\"");
    }
    let operations = common.key_operations.as_deref();
    if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Some("its key_ops lack \"verify\"");
    }
    None
}

/// The uncompressed SEC1 point. Each coordinate has its full size (RFC 7518 section 6.2.1.2).
fn point(parameters: &EllipticCurveKeyParameters) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [&parameters.x, &parameters.y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate).ok()?;
        if bytes.len() != 32 {
            return None;
        }
        point.extend_from_slice(&bytes);
    }
    Some(point)
}
