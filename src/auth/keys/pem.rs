//! PEM: finding the blocks, and saying what a block is when it is not a P-256 public key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::pkcs8::{ObjectIdentifier, SubjectPublicKeyInfoRef, der::Decode as _};

use super::KeyProblem;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// One block of a PEM file.
pub(crate) struct Block {
    /// What stands between `BEGIN` and the dashes.
    pub(crate) label: String,
    /// The decoded body.
    pub(crate) der: Vec<u8>,
}

/// All blocks of a PEM text. Text around them (OpenSSL writes some) is passed over.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, KeyProblem> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
        else {
            continue;
        };
        let damaged = |detail| KeyProblem::Damaged {
            label: label.to_owned(),
            detail,
        };
        let end = format!("-----END {label}-----");
        let mut body = String::new();
        loop {
            match lines.next() {
                None => return Err(damaged("it has no matching END line")),
                Some(line) if line == end => break,
                // Headers of the old encrypted form, `Proc-Type: 4,ENCRYPTED`.
                Some(line) if line.contains(':') => {}
                Some(line) => body.push_str(line),
            }
        }
        let der = STANDARD.decode(&body).map_err(|_| damaged("its body is not base64"))?;
        found.push(Block {
            label: label.to_owned(),
            der,
        });
    }
    if found.is_empty() {
        return Err(KeyProblem::NoPem);
    }
    Ok(found)
}

/// The point of each public key in a PEM text, or what the block is instead. A private key
/// spoils the text: it must not lie on a verifying server.
pub(super) fn public_points(text: &str) -> Result<Vec<Result<Vec<u8>, KeyProblem>>, KeyProblem> {
    let mut points = Vec::new();
    for block in blocks(text)? {
        match public_point(block) {
            Err(private @ KeyProblem::PrivateKey { .. }) => return Err(private),
            point => points.push(point),
        }
    }
    Ok(points)
}

fn public_point(block: Block) -> Result<Vec<u8>, KeyProblem> {
    let Block { label, der } = block;
    match label.as_str() {
        "PUBLIC KEY" => spki_point(&der),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Err(KeyProblem::Certificate),
        "RSA PUBLIC KEY" => Err(KeyProblem::WrongKind { found: "an RSA".into() }),
        // `openssl ecparam -genkey` writes this block in front of the private key.
        "EC PARAMETERS" => Err(KeyProblem::PrivateKey { label }),
        private if private.ends_with("PRIVATE KEY") => Err(KeyProblem::PrivateKey { label }),
        _ => Err(KeyProblem::OtherPem { label }),
    }
}

fn spki_point(der: &[u8]) -> Result<Vec<u8>, KeyProblem> {
    let damaged = |detail| KeyProblem::Damaged {
        label: "PUBLIC KEY".into(),
        detail,
    };
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| damaged("it does not hold a public key"))?;
    if info.algorithm.oid != EC_PUBLIC_KEY {
        return Err(KeyProblem::WrongKind {
            found: kind(info.algorithm.oid),
        });
    }
    match info.algorithm.parameters_oid() {
        Ok(P256) => {}
        Ok(curve) => {
            return Err(KeyProblem::WrongKind {
                found: curve_kind(curve),
            });
        }
        Err(_) => return Err(damaged("it does not name its curve")),
    }
    let point = info
        .subject_public_key
        .as_bytes()
        .ok_or_else(|| damaged("its point is not whole bytes"))?;
    Ok(point.to_vec())
}

fn kind(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => "an RSA".into(),
        "1.2.840.113549.1.1.10" => "an RSA-PSS".into(),
        "1.3.101.112" => "an Ed25519".into(),
        "1.3.101.113" => "an Ed448".into(),
        "1.3.101.110" => "an X25519".into(),
        other => format!("an unknown ({other})"),
    }
}

fn curve_kind(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.3.132.0.34" => "an EC P-384".into(),
        "1.3.132.0.35" => "an EC P-521".into(),
        "1.3.132.0.10" => "an EC secp256k1".into(),
        other => format!("an EC (curve {other})"),
    }
}
