//! The cost of a token at the gate: a signature check alone, a fresh token, a cached token.
//!
//! `cargo bench --bench tokens` prints the times. To count instructions instead, run the binary
//! with a mode and a number of rounds under `perf stat -e instructions:u` (or `valgrind
//! --tool=cachegrind`) with two different numbers, and divide the difference:
//!
//!     target/release/deps/tokens-... fresh 2000

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
    },
};
use axum::{Router, body::Body};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use durable_streams_server::{Config, ConfigLoadOptions, InMemoryStorage, build_router};
use http::{Request, StatusCode};
use tower::ServiceExt as _;

const ROUNDS: usize = 5_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let bench = Bench::new();
    match arguments.as_slice() {
        [mode, rounds] => bench.run(mode, rounds.parse().unwrap()).await,
        _ => {
            for mode in ["sign", "verify", "fresh", "cached"] {
                let start = Instant::now();
                bench.run(mode, ROUNDS).await;
                println!("{mode:<8} {:?} each", start.elapsed() / ROUNDS as u32);
            }
        }
    }
}

struct Bench {
    key: EcdsaKeyPair,
    router: Router,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let verify_key = directory.path().join("verify_key.pem");
        let der = key.public_key().as_der().unwrap();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        std::fs::write(&verify_key, pem).unwrap();
        let config = config(directory.path(), &verify_key);
        let router = build_router(Arc::new(InMemoryStorage::new(0)), &config).unwrap();
        Self {
            key,
            router,
            _directory: directory,
        }
    }

    /// Every mode signs its tokens first: subtract `sign` from the others.
    async fn run(&self, mode: &str, rounds: usize) {
        let tokens: Vec<_> = (0..rounds).map(|number| self.token(number)).collect();
        match mode {
            "sign" => {}
            "verify" => self.verify(&tokens),
            "fresh" => {
                for token in &tokens {
                    self.ask(token).await;
                }
            }
            "cached" => {
                let Some(token) = tokens.first() else { return };
                for _ in 0..rounds {
                    self.ask(token).await;
                }
            }
            other => panic!("{other}: the modes are sign, verify, fresh and cached"),
        }
    }

    fn token(&self, number: usize) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(
            "{{\"stream\":\"gid://app/Room/1/messages\",\"permissions\":[\"read\"],\"identity\":\"{number}\",\
             \"iss\":\"https://app.test\",\"aud\":\"https://streams.test/v1/streams\",\"iat\":{now},\"exp\":{}}}",
            now + 900
        ));
        let signed = format!("{header}.{claims}");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, tokens: &[String]) {
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key()).unwrap();
        for token in tokens {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            public.verify_sig(signed.as_bytes(), &signature).unwrap();
        }
    }

    async fn ask(&self, token: &str) {
        let request = Request::head("/v1/stream/gid://app/Room/1/messages")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}

fn config(directory: &Path, verify_key: &Path) -> Config {
    let file = directory.join("server.toml");
    let text = format!(
        "[auth]\nverify_key = {verify_key:?}\nissuer = \"https://app.test\"\n\
         audience = \"https://streams.test/v1/streams\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let options = ConfigLoadOptions {
        config_path: Some(file),
        ..ConfigLoadOptions::default()
    };
    Config::load(&options).unwrap().config
}
