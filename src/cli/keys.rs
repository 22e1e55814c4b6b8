//! `keys generate`

use std::{
    fs::{self, DirBuilder},
    io::Write,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use clap::{Args, Subcommand};
use spki::der::pem::{self, LineEnding};

use super::error::CliError;
use crate::{auth::keys::thumbprint, private_files};

/// Make keys for signing and verifying tokens.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Write a new key pair: the private key for the app that signs, the public one for this server.
    Generate(GenerateArgs),
}

/// Arguments of `keys generate`.
#[derive(Debug, Args)]
struct GenerateArgs {
    /// The directory to write to, created if needed. Existing keys are never overwritten.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The key's id. The files are then KID.key and KID.pem, so that the directory can be the
    /// server's `auth.verify_key`; without an id they are signing_key.pem and verify_key.pem.
    #[arg(long)]
    kid: Option<String>,
}

/// Runs `keys`.
///
/// # Errors
/// [`CliError`]
pub(super) fn run(args: &KeysArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        KeysCommand::Generate(args) => generate(args, out),
    }
}

fn generate(args: &GenerateArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let (private_name, public_name) = match &args.kid {
        None => ("signing_key.pem".to_owned(), "verify_key.pem".to_owned()),
        Some(kid) if is_file_name(kid) => (format!("{kid}.key"), format!("{kid}.pem")),
        Some(kid) => {
            return Err(CliError::Usage(format!(
                "--kid {kid:?} cannot be a file name; use letters, digits, `.`, `_` and `-`, and no leading `.`"
            )));
        }
    };
    let (private_path, public_path) = (args.out.join(private_name), args.out.join(public_name));
    for path in [&private_path, &public_path] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(CliError::Usage(format!(
                "{} already exists and is not overwritten; choose another --out or --kid",
                path.display()
            )));
        }
    }
    let pair = Pair::generate().ok_or(CliError::KeyGeneration)?;
    // Others may read the public key, but not replace it.
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&args.out)
        .map_err(|error| CliError::file(&args.out, error))?;
    create(&private_path, pair.private_pem.as_bytes(), 0o600)?;
    if let Err(error) = create(&public_path, pair.public_pem.as_bytes(), 0o644) {
        // Half a pair would block the next attempt.
        _ = fs::remove_file(&private_path);
        return Err(error);
    }
    let kid = args.kid.clone().unwrap_or(pair.thumbprint);
    writeln!(
        out,
        "private key  {}  (for the app that signs tokens; keep it secret)",
        private_path.display()
    )?;
    writeln!(
        out,
        "public key   {}  (for this server: auth.verify_key)",
        public_path.display()
    )?;
    writeln!(out, "kid          {kid}")?;
    Ok(())
}

/// A new key pair.
struct Pair {
    private_pem: String,
    public_pem: String,
    thumbprint: String,
}

impl Pair {
    fn generate() -> Option<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
        let (private, public) = (pair.to_pkcs8v1().ok()?, pair.public_key().as_der().ok()?);
        let encode = |label, der| pem::encode_string(label, LineEnding::LF, der).ok();
        Some(Self {
            private_pem: encode("PRIVATE KEY", private.as_ref())?,
            public_pem: encode("PUBLIC KEY", public.as_ref())?,
            thumbprint: thumbprint(pair.public_key().as_ref()),
        })
    }
}

fn is_file_name(kid: &str) -> bool {
    !kid.is_empty()
        && kid.len() <= 128
        && !kid.starts_with(['.', '-'])
        && kid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
    private_files::create_with(path, mode)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .map_err(|error| CliError::file(path, error))
}
