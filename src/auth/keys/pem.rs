//! PEM files with keys, and an explanation of every other PEM block.

use std::borrow::Cow;

use rustls::pki_types::{
    SubjectPublicKeyInfoDer,
    pem::{self, PemObject as _},
};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef, der::Decode as _};

use super::error::KeyProblem;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// A PEM text without indentation, which YAML adds and parsers reject.
pub(crate) fn unindented(text: &str) -> Cow<'_, str> {
    if text.lines().any(|line| line.starts_with([' ', '\t'])) {
        text.lines().map(str::trim).collect::<Vec<_>>().join("\n").into()
    } else {
        text.into()
    }
}

/// The labels of all blocks in a PEM text.
pub(crate) fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
}

/// The SEC1 point of each public key in a PEM text, and for each other block the reason why it is
/// not one.
///
/// # Errors
/// When the text is not PEM, or holds a private key: none may lie on a verifying server.
pub(super) fn public_points(text: &str) -> Result<Vec<Result<Vec<u8>, KeyProblem>>, KeyProblem> {
    let text = unindented(text);
    if labels(&text).next().is_none() {
        return Err(KeyProblem::NotPem);
    }
    if let Some(label) = labels(&text).find(|label| is_private(label)) {
        let label = label.to_owned();
        return Err(KeyProblem::PrivateKey { label });
    }
    let mut points = Vec::new();
    for der in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
        points.push(spki_point(&der.map_err(|error| damaged(&error))?));
    }
    let others = labels(&text).filter(|label| *label != "PUBLIC KEY");
    points.extend(others.map(|label| Err(not_a_public_key(label))));
    Ok(points)
}

/// `openssl ecparam -genkey` writes `EC PARAMETERS` before the private key.
fn is_private(label: &str) -> bool {
    label.ends_with("PRIVATE KEY") || label == "EC PARAMETERS"
}

fn damaged(error: &pem::Error) -> KeyProblem {
    KeyProblem::Damaged {
        label: "PUBLIC KEY".into(),
        detail: match error {
            pem::Error::MissingSectionEnd { .. } => "it has no matching END line",
            pem::Error::Base64Decode(_) => "its body is not base64",
            _ => "its BEGIN line is malformed",
        },
    }
}

fn not_a_public_key(label: &str) -> KeyProblem {
    match label {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => KeyProblem::Certificate,
        "RSA PUBLIC KEY" => KeyProblem::WrongKind { found: "an RSA".into() },
        _ => KeyProblem::OtherPem { label: label.into() },
    }
}

fn spki_point(der: &[u8]) -> Result<Vec<u8>, KeyProblem> {
    let damaged = |detail| KeyProblem::Damaged {
        label: "PUBLIC KEY".into(),
        detail,
    };
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| damaged("it does not hold a public key"))?;
    if info.algorithm.oid != EC_PUBLIC_KEY {
        let found = algorithm_name(info.algorithm.oid);
        return Err(KeyProblem::WrongKind { found });
    }
    match info.algorithm.parameters_oid() {
        Ok(P256) => {}
        Ok(curve) => {
            let found = curve_name(curve);
            return Err(KeyProblem::WrongKind { found });
        }
        Err(_) => return Err(damaged("it does not name its curve")),
    }
    let point = info
        .subject_public_key
        .as_bytes()
        .ok_or_else(|| damaged("its point is not whole bytes"))?;
    Ok(point.to_vec())
}

fn algorithm_name(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => "an RSA".into(),
        "1.2.840.113549.1.1.10" => "an RSA-PSS".into(),
        "1.3.101.112" => "an Ed25519".into(),
        "1.3.101.113" => "an Ed448".into(),
        "1.3.101.110" => "an X25519".into(),
        other => format!("an unknown ({other})"),
    }
}

fn curve_name(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.3.132.0.34" => "an EC P-384".into(),
        "1.3.132.0.35" => "an EC P-521".into(),
        "1.3.132.0.10" => "an EC secp256k1".into(),
        other => format!("an EC (curve {other})"),
    }
}
