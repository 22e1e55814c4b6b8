//! `token`

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use p256::{
    SecretKey,
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::DecodePrivateKey as _,
};
use serde_json::{Value, json};

use super::CliError;
use crate::{auth::AuthConfig, auth::keys::pem, clock, protocol::StreamName, settings::duration};

/// Sign a token, as the app would, and print it.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("bearer").required(true).args(["stream", "server"])))]
pub struct TokenArgs {
    /// The private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// A client's token, for this one stream.
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// An app server's token, for everything; with a name if you like.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    pub server: Option<Option<String>>,
    /// What the client may do: read, write or both.
    #[arg(long, value_delimiter = ',', default_value = "read", conflicts_with = "server")]
    pub permissions: Vec<String>,
    /// Who the client is, for the app's own use.
    #[arg(long, conflicts_with = "server")]
    pub identity: Option<String>,
    /// The `iss` claim; by default the one that the configuration expects.
    #[arg(long)]
    pub issuer: Option<String>,
    /// The `aud` claim; by default the one that the configuration expects.
    #[arg(long)]
    pub audience: Option<String>,
    /// How long it is to last: `90s`, `15m`, `1h 30m`, or a number of seconds.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub expires_in: String,
    /// Names the key, for a server that has several.
    #[arg(long)]
    pub kid: Option<String>,
}

/// Runs `token`. `auth` is the configuration's section, if it has one.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &TokenArgs, auth: Option<&AuthConfig>, out: &mut dyn Write) -> Result<(), CliError> {
    let key = read_key(&args.key)?;
    let claims = claims(args, auth, clock::now_secs())?;
    writeln!(out, "{}", sign(&key, args.kid.as_deref(), &claims))?;
    Ok(())
}

/// A token with these claims.
pub(super) fn sign(key: &SigningKey, kid: Option<&str>, claims: &Value) -> String {
    let header = match kid {
        Some(kid) => json!({"alg": "ES256", "typ": "JWT", "kid": kid}),
        None => json!({"alg": "ES256", "typ": "JWT"}),
    };
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// The claims of an app server's token that lasts from `now` for `lifetime` (both in seconds),
/// as the configuration expects them.
pub(super) fn server_claims(auth: Option<&AuthConfig>, now: u64, lifetime: u64) -> Value {
    let mut claims = json!({"server": true, "iat": now, "exp": now.saturating_add(lifetime)});
    if let (Some(auth), Some(claims)) = (auth, claims.as_object_mut()) {
        for (claim, expected) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
            claims.extend(expected.first().map(|one| (claim.to_owned(), json!(one))));
        }
    }
    claims
}

fn claims(args: &TokenArgs, auth: Option<&AuthConfig>, now: u64) -> Result<Value, CliError> {
    let mut claims = serde_json::Map::new();
    match (&args.stream, &args.server) {
        (Some(stream), None) => {
            let stream = StreamName::new(stream).map_err(|error| CliError::Usage(format!("--stream: {error}")))?;
            if let Some(other) = args.permissions.iter().find(|word| *word != "read" && *word != "write") {
                return Err(CliError::Usage(format!(
                    "--permissions: {other:?} is not one; there are `read` and `write`"
                )));
            }
            claims.insert("stream".into(), stream.as_str().into());
            claims.insert("permissions".into(), json!(args.permissions));
            if let Some(identity) = &args.identity {
                claims.insert("identity".into(), identity.as_str().into());
            }
        }
        (None, Some(name)) => {
            let name = match name.as_deref() {
                None => json!(true),
                Some("") => return Err(CliError::Usage("--server: the name is empty".into())),
                Some(name) => json!(name),
            };
            claims.insert("server".into(), name);
        }
        _ => return Err(CliError::Usage("give either --stream or --server".into())),
    }
    let configured = |list: fn(&AuthConfig) -> &Vec<String>| auth.and_then(|auth| list(auth).first().cloned());
    if let Some(issuer) = args.issuer.clone().or_else(|| configured(|auth| &auth.issuer)) {
        claims.insert("iss".into(), issuer.into());
    }
    if let Some(audience) = args.audience.clone().or_else(|| configured(|auth| &auth.audience)) {
        claims.insert("aud".into(), audience.into());
    }
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), now.saturating_add(seconds(&args.expires_in)?).into());
    Ok(Value::Object(claims))
}

fn seconds(text: &str) -> Result<u64, CliError> {
    duration::seconds(text)
        .filter(|seconds| (1..=100 * 366 * 86_400).contains(seconds))
        .ok_or_else(|| {
            CliError::Usage(format!(
                "--expires-in {text:?} is no time to last; write for example `15m`"
            ))
        })
}

/// Reads a private key.
pub(super) fn read_key(file: &Path) -> Result<SigningKey, CliError> {
    let path = file.display();
    let text = fs::read_to_string(file).map_err(|error| CliError::file(file, error))?;
    let blocks = pem::blocks(&text).map_err(|problem| CliError::Usage(format!("{path}: {problem}")))?;
    // `openssl ecparam -genkey` puts the parameters in front of the key.
    let Some(block) = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")) else {
        return Err(CliError::Usage(format!(
            "{path} holds no private key; tokens are signed with the private one of the pair"
        )));
    };
    let key = match block.label.as_str() {
        "PRIVATE KEY" => SecretKey::from_pkcs8_der(&block.der).ok(),
        "EC PRIVATE KEY" => SecretKey::from_sec1_der(&block.der).ok(),
        "ENCRYPTED PRIVATE KEY" => {
            return Err(CliError::Usage(format!(
                "{path} is encrypted; decrypt it with `openssl pkey -in {path} -out signing_key.pem`"
            )));
        }
        _ => None,
    };
    key.map(SigningKey::from).ok_or_else(|| {
        CliError::Usage(format!(
            "{path} is no EC private key on P-256 (`keys generate` makes one)"
        ))
    })
}
