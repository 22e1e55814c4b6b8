use std::{fs, path::Path};

use clap::{Parser, Subcommand};
use serde_json::json;

use super::{explain, keys, token};
use crate::{
    Config,
    auth::AuthConfig,
    auth::{Authenticator, Principal},
    cli::explain::Verdict,
    clock::Clock,
    test_support::tokens::{Issuer, client, with},
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Keys(keys::KeysArgs),
    Token(token::TokenArgs),
    Explain(explain::ExplainArgs),
}

const STREAM: &str = "gid://app/Room/1";

fn config(verify_key: &Path) -> Config {
    Config {
        auth: Some(AuthConfig {
            verify_key: verify_key.to_owned(),
            issuer: vec!["https://app.test".into()],
            audience: vec!["https://streams.test".into(), "other".into()],
            ..AuthConfig::default()
        }),
        ..Config::default()
    }
}

/// The output of the command, and the verdict of `explain`.
fn run(config: &Config, args: &[&str]) -> Result<(String, Option<Verdict>), String> {
    let cli = Cli::try_parse_from([&["ds"], args].concat()).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let verdict = match cli.command {
        Command::Keys(args) => keys::run(&args, &mut out).map(|()| None),
        Command::Token(args) => token::run(&args, config.auth.as_ref(), &Clock::system(), &mut out).map(|()| None),
        Command::Explain(args) => explain::run(&args, config, &mut out).map(Some),
    };
    let verdict = verdict.map_err(|error| error.to_string())?;
    Ok((String::from_utf8(out).unwrap(), verdict))
}

struct Pair {
    directory: tempfile::TempDir,
    config: Config,
}

impl Pair {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("deep/keys");
        run(
            &Config::default(),
            &["keys", "generate", "--out", out.to_str().unwrap()],
        )
        .unwrap();
        let config = config(&out.join("verify_key.pem"));
        Self { directory, config }
    }

    fn key(&self) -> String {
        let path = self.directory.path().join("deep/keys/signing_key.pem");
        path.to_str().unwrap().to_owned()
    }

    fn token(&self, args: &[&str]) -> Result<String, String> {
        let key = self.key();
        let args = [&["token", "--key", &key], args].concat();
        run(&self.config, &args).map(|(printed, _)| printed)
    }

    fn explain(&self, args: &[&str]) -> (String, Verdict) {
        let (printed, verdict) = run(&self.config, &[&["explain"], args].concat()).unwrap();
        (printed, verdict.unwrap())
    }
}

#[test]
fn a_generated_pair_is_private_and_never_overwritten() {
    let pair = Pair::new();
    let out = pair.directory.path().join("deep/keys");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name: &str| fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("signing_key.pem"), 0o600);
        assert_eq!(mode("verify_key.pem") & 0o444, 0o444 & mode("verify_key.pem"));
    }
    let before = fs::read_to_string(out.join("signing_key.pem")).unwrap();
    assert!(before.starts_with("-----BEGIN PRIVATE KEY-----"));
    let generate = ["keys", "generate", "--out", out.to_str().unwrap()];
    let error = run(&pair.config, &generate).unwrap_err();
    assert!(error.contains("signing_key.pem already exists"), "{error}");
    fs::remove_file(out.join("signing_key.pem")).unwrap();
    let error = run(&pair.config, &generate).unwrap_err();
    assert!(error.contains("verify_key.pem already exists"), "{error}");
    assert!(!out.join("signing_key.pem").exists());
}

#[test]
fn keys_with_ids_make_a_directory_that_the_server_reads() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    for kid in ["2025", "2026"] {
        run(&Config::default(), &["keys", "generate", "--out", out, "--kid", kid]).unwrap();
    }
    let keys = crate::auth::KeySet::load(directory.path()).unwrap();
    assert_eq!(format!("{keys:?}"), r#"["2025", "2026"]"#);
    for kid in ["", "../x", "a/b", ".x", "a b"] {
        let error = run(&Config::default(), &["keys", "generate", "--out", out, "--kid", kid]);
        assert!(error.unwrap_err().contains("cannot be a file name"), "{kid}");
    }
}

#[test]
fn a_signed_token_has_the_claims_of_the_arguments() {
    let pair = Pair::new();
    let authenticator = Authenticator::load(pair.config.auth.as_ref().unwrap(), Clock::system()).unwrap();
    let principal = |args: &[&str]| {
        let token = pair.token(args).unwrap();
        assert_eq!(token.lines().count(), 1);
        let verified = authenticator.verify(token.trim_end()).unwrap();
        (
            verified.principal().clone(),
            verified.expires_at() - 5 - Clock::system().secs(),
        )
    };
    let (client, lasts) = principal(&["--stream", STREAM, "--permissions", "read,write", "--identity", "7"]);
    assert!((899..=900).contains(&lasts));
    let Principal::Client {
        stream,
        read,
        write,
        identity,
    } = client
    else {
        panic!("{client:?}");
    };
    assert_eq!(
        (stream.as_str(), read, write, identity.as_deref()),
        (STREAM, true, true, Some("7"))
    );

    let (server, lasts) = principal(&["--server", "--expires-in", "1h 30m"]);
    assert!((5399..=5400).contains(&lasts));
    assert_eq!(server, Principal::Server { name: None });
    let (server, _) = principal(&["--server", "rails", "--kid", "any", "--audience", "other"]);
    assert_eq!(
        server,
        Principal::Server {
            name: Some("rails".into())
        }
    );
}

#[test]
fn bad_arguments_of_token_are_named() {
    let pair = Pair::new();
    let verify_key = pair.key().replace("signing", "verify");
    for (args, expected) in [
        (&["--stream", "a", "--server"][..], "cannot be used with"),
        (&[], "required"),
        (&["--stream", "a/../b"], "`.` or `..` segment"),
        (
            &["--stream", "a", "--permissions", "admin"],
            "\"admin\" is not a permission",
        ),
        (&["--stream", "a", "--expires-in", "soon"], "is not a lifetime"),
        (&["--stream", "a", "--expires-in", "0"], "is not a lifetime"),
        (&["--stream", "a", "--expires-in=-5m"], "is not a lifetime"),
        (&["--server", ""], "the name is empty"),
    ] {
        let error = pair.token(args).unwrap_err();
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    let sign = |key: &str| run(&pair.config, &["token", "--key", key, "--stream", "a"]).unwrap_err();
    assert!(sign(&verify_key).contains("holds no private key"));
    assert!(sign("/nowhere.pem").contains("/nowhere.pem: No such file"));
}

#[test]
fn keys_as_openssl_and_ruby_write_them_sign_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ec.pem");
    let key = p256::SecretKey::from_slice(&[9; 32]).unwrap();
    let sec1 = key.to_sec1_pem(p256::pkcs8::LineEnding::LF).unwrap();
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    fs::write(&path, format!("{parameters}{}", *sec1)).unwrap();
    let args = ["token", "--key", path.to_str().unwrap(), "--stream", "a"];
    assert!(run(&Config::default(), &args).is_ok());
}

#[test]
fn explain_shows_that_a_request_is_allowed() {
    let pair = Pair::new();
    let token = pair.token(&["--stream", STREAM]).unwrap();
    let signed_url = format!("https://h:1/v1/stream/{STREAM}?offset=-1&token={}", token.trim());
    let directory = tempfile::tempdir().unwrap();
    let in_file = format!("@{}", directory.path().join("token").display());
    fs::write(&in_file[1..], &token).unwrap();
    for args in [
        [token.as_str(), "GET", STREAM],
        [in_file.as_str(), "GET", STREAM],
        [token.as_str(), "get", "/v1/stream/gid:%2F%2Fapp/Room/1"],
        ["-", "HEAD", &signed_url],
    ] {
        let (printed, verdict) = pair.explain(&args);
        assert_eq!(verdict, Verdict::Allowed, "{printed}");
        assert!(
            printed.contains("ok signature   made by") && printed.contains("verify_key.pem"),
            "{printed}"
        );
        assert!(
            printed.contains(", in 14m") || printed.contains(", in 15m"),
            "{printed}"
        );
        assert!(!printed.contains("NO "), "{printed}");
        assert!(!printed.contains(token.trim()), "{printed}");
    }
    let server = pair.token(&["--server"]).unwrap();
    let (printed, verdict) = pair.explain(&[&server, "POST", STREAM, "-H", "Stream-Closed: true"]);
    assert_eq!(verdict, Verdict::Allowed);
    assert!(printed.ends_with("ALLOWED: append and close\n"), "{printed}");
    let (printed, verdict) = pair.explain(&[&server, "GET", "/v1/stream/__ds/streams?limit=1"]);
    assert_eq!(verdict, Verdict::Allowed);
    assert!(
        printed.contains("not about one stream") && printed.ends_with("ALLOWED: list\n"),
        "{printed}"
    );
    let (printed, verdict) = pair.explain(&[&token, "GET", "/v1/stream/__ds/streams"]);
    assert_eq!(verdict, Verdict::Refused);
    assert!(
        printed.ends_with("REFUSED with 403: list needs a server token\n"),
        "{printed}"
    );
    let (printed, verdict) = pair.explain(&["none", "GET", "/up"]);
    assert_eq!(verdict, Verdict::Allowed, "{printed}");
}

#[test]
fn explain_names_the_rule_that_refuses() {
    let pair = Pair::new();
    let token = pair.token(&["--stream", STREAM]).unwrap();
    let other = pair.token(&["--stream", STREAM, "--issuer", "x"]).unwrap();
    let now = Clock::system().secs();
    let forged = Issuer::new(9).token(&client(now, STREAM, &["read"]));
    let spoilt = Issuer::new(9).token(&with(client(now - 9000, STREAM, &[]), "stream", None));
    for (args, expected) in [
        (
            [token.as_str(), "GET", "gid://app/Room/2"],
            &["NO stream", "REFUSED with 403: the token is for another stream"][..],
        ),
        (
            [token.as_str(), "DELETE", STREAM],
            &["ok stream", "REFUSED with 403: delete needs a server token"],
        ),
        (
            [token.as_str(), "POST", STREAM],
            &["REFUSED with 403: append needs the permission \"write\""],
        ),
        (
            [token.as_str(), "GET", "/elsewhere"],
            &["streams are below /v1/stream/", "REFUSED with 404"],
        ),
        ([token.as_str(), "GET", "a/../b"], &["NO request", "REFUSED with 403"]),
        (
            [other.as_str(), "GET", STREAM],
            &[
                "NO iss         \"x\"; expected https://app.test",
                "REFUSED with 401: the token's issuer",
            ],
        ),
        (
            [forged.as_str(), "GET", STREAM],
            &["NO signature", "the configured keys are", "REFUSED with 401"],
        ),
        (
            [spoilt.as_str(), "GET", STREAM],
            &["exp", "ago", "neither a stream nor a server claim", "REFUSED with 401"],
        ),
        (
            ["nonsense", "GET", STREAM],
            &["NO header", "NO claims", "REFUSED with 401: malformed"],
        ),
        (["{\u{7}\n}", "GET", STREAM], &["NO header", "REFUSED with 401"]),
    ] {
        let (printed, verdict) = pair.explain(&[args[0].trim(), args[1], args[2]]);
        assert_eq!(verdict, Verdict::Refused, "{printed}");
        for words in expected {
            assert!(printed.contains(words), "{words}\n{printed}");
        }
    }
}

#[test]
fn explain_judges_each_part_of_a_token_alone() {
    let pair = Pair::new();
    let now = Clock::system().secs();
    let refused = |token: &str| {
        let (printed, _) = pair.explain(&[token, "GET", STREAM]);
        let lines = printed.lines().filter(|line| line.starts_with("NO "));
        let labels = lines.filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned));
        labels.collect::<Vec<_>>()
    };
    let issuer = Issuer::new(9);
    let claims = with(client(now, STREAM, &["read"]), "aud", json!("other"));
    let unsigned = claims.to_string();
    let claims = with(claims, "exp", json!(now - 60));
    assert_eq!(refused(&issuer.token(&claims)), ["signature", "exp"]);
    let claims = with(with(claims, "iat", json!(now + 900)), "iss", json!("x"));
    assert_eq!(refused(&issuer.token(&claims)), ["signature", "exp", "iat", "iss"]);
    assert_eq!(refused(&issuer.sign(r#"{"alg":"none"}"#, &unsigned)), ["header"]);
}

#[test]
fn explain_reports_bad_arguments() {
    let pair = Pair::new();
    let error = |config: &Config, args: &[&str]| run(config, &[&["explain"], args].concat()).unwrap_err();
    assert!(error(&pair.config, &["t", "G T", "a"]).contains("not an HTTP method"));
    assert!(error(&pair.config, &["t", "GET", "a b"]).contains("not a URL"));
    assert!(error(&pair.config, &["t", "GET", "a", "-H", "x"]).contains("not a header"));
    assert!(error(&pair.config, &["-", "GET", "a"]).contains("no query parameter `token`"));
    let keyless = config(Path::new("/nowhere.pem"));
    assert!(error(&keyless, &["t", "GET", "a"]).contains("/nowhere.pem"));
    let (printed, verdict) = run(&Config::default(), &["explain", "t", "PUT", "a"]).unwrap();
    assert_eq!(verdict, Some(Verdict::Allowed));
    assert!(printed.contains("it is open"), "{printed}");
}
