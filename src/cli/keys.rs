//! `keys generate`

use std::{
    fs::{self, DirBuilder},
    io::Write,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use p256::{
    SecretKey,
    elliptic_curve::Generate as _,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};

use super::CliError;
use crate::{auth::keys::thumbprint, private_files};

/// Make keys for signing and verifying tokens.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Write a new key pair: the private key for the app that signs, the public one for this server.
    Generate(GenerateArgs),
}

/// `keys generate`
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The directory to write to; made when it is not there. Existing keys are never overwritten.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Name the key. The files are then KID.key and KID.pem, so that the directory can be the
    /// server's `auth.verify_key`; without a name they are signing_key.pem and verify_key.pem.
    #[arg(long)]
    pub kid: Option<String>,
}

/// Runs `keys`.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &KeysArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        KeysCommand::Generate(args) => generate(args, out),
    }
}

/// Runs `keys generate`.
///
/// # Errors
/// [`CliError`]
pub fn generate(args: &GenerateArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let (private_name, public_name) = match &args.kid {
        None => ("signing_key.pem".to_owned(), "verify_key.pem".to_owned()),
        Some(kid) if is_file_name(kid) => (format!("{kid}.key"), format!("{kid}.pem")),
        Some(kid) => {
            return Err(CliError::Usage(format!(
                "--kid {kid:?} cannot be a file name; use letters, digits, `.`, `_` and `-`, and no `.` in front"
            )));
        }
    };
    let (private_path, public_path) = (args.out.join(private_name), args.out.join(public_name));
    for path in [&private_path, &public_path] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(CliError::Usage(format!(
                "{} is there already and is not overwritten; name another --out or --kid",
                path.display()
            )));
        }
    }
    let failed = |what: &str| CliError::Usage(format!("cannot make a key: {what}"));
    let private = SecretKey::try_generate().map_err(|_| failed("the system gives no randomness"))?;
    let public = private.public_key();
    let private_pem = private
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| failed("it cannot be written as PKCS#8"))?;
    let public_pem = public
        .to_public_key_pem(LineEnding::LF)
        .map_err(|_| failed("it cannot be written as PEM"))?;

    // The public key is for others to read, and nobody else may put another in its place.
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&args.out)
        .map_err(|error| CliError::file(&args.out, error))?;
    create(&private_path, private_pem.as_bytes(), 0o600)?;
    if let Err(error) = create(&public_path, public_pem.as_bytes(), 0o644) {
        // Half a pair helps nobody, and would be in the way of the next try.
        _ = fs::remove_file(&private_path);
        return Err(error);
    }
    let kid = args.kid.clone().unwrap_or_else(|| thumbprint(&public.to_sec1_bytes()));
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
