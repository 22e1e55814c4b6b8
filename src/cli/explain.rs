//! `explain`

use std::{
    io::{self, Write},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::AUTHORIZATION};
use serde_json::Value;

use super::{
    error::CliError,
    first_line::{first_line, token_of},
};
use crate::{
    auth::AuthConfig,
    auth::{Authenticator, Principal, candidates, token::Token},
    clock,
    config::Config,
    gate::{Admission, Gate, Listener, Route, route},
};

/// Say whether a token allows a request, or which rule refuses it, without a running server.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The token; `-` takes it out of the URL, `@FILE` out of a file's first line, `@-` out of
    /// standard input.
    pub token: String,
    /// GET, HEAD, POST, PUT or DELETE.
    pub method: String,
    /// The URL, its path, or just the stream's name.
    pub url: String,
    /// A header of the request, such as `Stream-Closed: true`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
}

/// What `explain` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The gate lets it through.
    Allowed,
    /// The gate refuses it.
    Refused,
}

/// Runs `explain`.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &ExplainArgs, config: &Config, out: &mut dyn Write) -> Result<Verdict, CliError> {
    let request = Request::from_args(args, config)?;
    let gate = Gate::load(
        config.auth.as_ref(),
        &config.http.stream_base_path,
        clock::Clock::system(),
    )
    .map_err(|error| CliError::Config(error.to_string()))?;
    let mut report = Report { out };
    if let (Some(authenticator), Some(auth)) = (gate.authenticator(), &config.auth) {
        report.token(&request.token, authenticator, auth)?;
    } else {
        report.line(Mark::Note, "server", "it is open: nothing is asked of a token")?;
    }
    report.request(&request, config)?;

    // The verdict is the gate's own, so that the words above can never decide anything.
    let mut headers = request.headers;
    if let Ok(value) = HeaderValue::try_from(format!("Bearer {}", request.token)) {
        headers.insert(AUTHORIZATION, value);
    }
    let admitted = gate.admit(&request.method, &request.uri, &headers, Listener::Public, None);
    let (verdict, words) = match admitted {
        Ok(Admission::Granted(permit)) => (Verdict::Allowed, format!("ALLOWED: {}", permit.operation())),
        Ok(Admission::Public) => (Verdict::Allowed, "ALLOWED: this needs no token".into()),
        Ok(Admission::OwnToken) => (
            Verdict::Allowed,
            "PASSED ON: this path takes the token that its subscription was given, not this kind".into(),
        ),
        Ok(Admission::BadName(error)) => (Verdict::Refused, format!("REFUSED with 400: {error}")),
        Ok(Admission::NoSuchOperation) => (
            Verdict::Refused,
            "REFUSED with 404 or 405: there is no such path or method".into(),
        ),
        Err(refusal) => (
            Verdict::Refused,
            format!("REFUSED with {}: {}", refusal.status().as_u16(), refusal.detail()),
        ),
    };
    writeln!(report.out, "{words}")?;
    Ok(verdict)
}

struct Request {
    token: String,
    method: Method,
    /// Without its query, so that the token given is the only one.
    uri: Uri,
    headers: HeaderMap,
}

impl Request {
    fn from_args(args: &ExplainArgs, config: &Config) -> Result<Self, CliError> {
        let usage = |what: String| CliError::Usage(what);
        let method = Method::try_from(args.method.to_uppercase().as_str())
            .map_err(|_| usage(format!("{:?} is no HTTP method", args.method)))?;
        let target = match args.url.split_once("://") {
            Some(("http" | "https", rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/").to_owned(),
            _ if args.url.starts_with('/') => args.url.clone(),
            _ => format!("{}/{}", config.http.stream_base_path.trim_end_matches('/'), args.url),
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        let uri = path
            .parse()
            .map_err(|_| usage(format!("{:?} is no URL; percent-encode what is not ASCII", args.url)))?;
        let mut headers = HeaderMap::new();
        for line in &args.headers {
            let header = line.split_once(':').and_then(|(name, value)| {
                Some((
                    HeaderName::try_from(name.trim()).ok()?,
                    HeaderValue::try_from(value.trim()).ok()?,
                ))
            });
            let (name, value) = header.ok_or_else(|| usage(format!("{line:?} is no header; write `Name: value`")))?;
            headers.append(name, value);
        }
        let token = if args.token == "-" {
            candidates(query.as_deref(), &HeaderMap::new())
                .map_err(|error| usage(error.to_string()))?
                .pop()
                .ok_or_else(|| usage("the URL has no parameter `token`".into()))?
                .into_owned()
        } else {
            let token = match args.token.trim().strip_prefix('@') {
                Some("-") => first_line(io::stdin().lock(), "@-")?,
                Some(file) => token_of(Path::new(file))?,
                None => args.token.trim().to_owned(),
            };
            token.strip_prefix("Bearer ").unwrap_or(&token).to_owned()
        };
        Ok(Self {
            token,
            method,
            uri,
            headers,
        })
    }
}

enum Mark {
    Good,
    Bad,
    Note,
}

struct Report<'a> {
    out: &'a mut dyn Write,
}

impl Report<'_> {
    fn line(&mut self, mark: Mark, label: &str, text: &str) -> io::Result<()> {
        let mark = match mark {
            Mark::Good => "ok",
            Mark::Bad => "NO",
            Mark::Note => "  ",
        };
        writeln!(self.out, "{mark} {label:<11} {text}")
    }

    /// `Good` or `Bad`
    fn check(&mut self, good: bool, label: &str, text: &str) -> io::Result<()> {
        self.line(if good { Mark::Good } else { Mark::Bad }, label, text)
    }

    fn token(&mut self, text: &str, authenticator: &Authenticator, auth: &AuthConfig) -> io::Result<()> {
        let token = match Token::parse(text) {
            Ok(token) => {
                let kid = token.kid().map_or("no kid".into(), |kid| format!("kid {kid:?}"));
                self.line(Mark::Good, "header", &format!("ES256, {kid}"))?;
                Some(token)
            }
            Err(error) => {
                self.line(Mark::Bad, "header", &error.to_string())?;
                None
            }
        };
        if let Some(token) = &token {
            let found = authenticator.with_keys(|keys| match token.signer(keys) {
                Ok(key) => Ok(format!("made by {} (kid {})", key.source().display(), key.kid())),
                Err(error) => {
                    let kids: Vec<_> = keys.keys().map(|key| key.kid()).collect();
                    Err(format!("{error}; the configured keys are {}", kids.join(", ")))
                }
            });
            match found {
                Ok(text) => self.line(Mark::Good, "signature", &text)?,
                Err(text) => self.line(Mark::Bad, "signature", &text)?,
            }
        }
        match claims_as_sent(text) {
            Some(claims) => self.claims(&claims, auth)?,
            None => self.line(Mark::Bad, "claims", "they are not base64url of a JSON object")?,
        }
        if let Some(Err(error)) = token.map(|token| token.claims()) {
            self.line(Mark::Bad, "claims", &error.to_string())?;
        }
        Ok(())
    }

    fn claims(&mut self, claims: &Value, auth: &AuthConfig) -> io::Result<()> {
        let now = i64::try_from(clock::Clock::system().secs()).unwrap_or(i64::MAX);
        let leeway = i64::try_from(auth.leeway_secs).unwrap_or(i64::MAX);
        match claims.get("exp").and_then(Value::as_f64) {
            Some(exp) => {
                let exp = exp as i64;
                self.check(now < exp.saturating_add(leeway), "exp", &moment(exp, now))?;
            }
            None => self.line(Mark::Bad, "exp", "missing, or not a number")?,
        }
        for claim in ["nbf", "iat"] {
            if let Some(time) = claims.get(claim).and_then(Value::as_f64) {
                let time = time as i64;
                self.check(time <= now.saturating_add(leeway), claim, &moment(time, now))?;
            }
        }
        for (claim, expected) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
            let seen = claims.get(claim);
            let words = seen.map_or("absent".into(), Value::to_string);
            if expected.is_empty() {
                self.line(
                    Mark::Note,
                    claim,
                    &format!("{words}; the configuration does not check it"),
                )?;
                continue;
            }
            let is_expected = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|text| expected.iter().any(|one| one == text))
            };
            let good = match seen {
                Some(Value::Array(list)) if claim == "aud" => list.iter().any(is_expected),
                Some(value) => is_expected(value),
                None => false,
            };
            self.check(good, claim, &format!("{words}; expected {}", expected.join(" or ")))?;
        }
        for claim in ["server", "stream", "permissions", "identity"] {
            if let Some(value) = claims.get(claim) {
                self.line(Mark::Note, claim, &value.to_string())?;
            }
        }
        Ok(())
    }

    fn request(&mut self, request: &Request, config: &Config) -> io::Result<()> {
        let base = config.http.stream_base_path.trim_end_matches('/');
        let asked = match route(&request.method, request.uri.path(), base, &request.headers) {
            Route::Stream(operation, Ok(name)) => {
                self.line(
                    Mark::Note,
                    "request",
                    &format!("{operation}, stream {:?}", name.as_str()),
                )?;
                Some(name)
            }
            Route::Stream(operation, Err(error)) => {
                self.line(Mark::Bad, "request", &format!("{operation}, but {error}"))?;
                None
            }
            Route::Unknown => {
                let text = format!("nothing is there; streams are below {base}/");
                self.line(Mark::Bad, "request", &text)?;
                None
            }
            Route::List => {
                self.line(Mark::Note, "request", "list, which is about no one stream")?;
                None
            }
            other => {
                self.line(Mark::Note, "request", &format!("{other:?}"))?;
                None
            }
        };
        let own = Token::parse(&request.token).and_then(|token| token.claims());
        if let (Some(asked), Ok(claims)) = (asked, own)
            && let Principal::Client { stream: own, .. } = claims.principal
        {
            let text = match own == asked {
                true => "the claim is the URL's stream".into(),
                false => format!("the claim {:?} is not the URL's {:?}", own.as_str(), asked.as_str()),
            };
            self.check(own == asked, "stream", &text)?;
        }
        Ok(())
    }
}

/// The claims as they stand in the token, whether or not anybody signed them.
fn claims_as_sent(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok().filter(Value::is_object)
}

fn moment(seconds: i64, now: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else {
        return format!("{seconds}, which is no time in seconds since 1970");
    };
    let distance = jiff::SignedDuration::from_secs(seconds.saturating_sub(now).saturating_abs());
    match seconds > now {
        true => format!("{time}, in {distance:#}"),
        false => format!("{time}, {distance:#} ago"),
    }
}
