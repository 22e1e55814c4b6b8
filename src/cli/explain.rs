//! `explain`: the gate's verdict on a token and a request, and its reasons.

use std::{
    io::{self, Write},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header::AUTHORIZATION};
use serde_json::Value;

use super::{
    error::CliError,
    first_line::{first_line, token_of},
};
use crate::{
    auth::{
        AuthConfig, Authenticator, Principal, candidates, is_own,
        token::{Claims, Token},
    },
    clock::Clock,
    config::Config,
    gate::{Admission, Gate},
    listener::ListenerKind,
    problems,
    routes::{self, Access, Found},
};

/// Say whether a token allows a request, or which rule refuses it, without a running server.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The token; `-` reads it from the URL, `@FILE` from the first line of a file, `@-` from
    /// standard input.
    pub token: String,
    /// GET, HEAD, POST, PUT or DELETE.
    pub method: String,
    /// The URL, its path, or just the stream's name.
    pub url: String,
    /// A header of the request, such as `Stream-Closed: true`; can be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
}

/// The gate's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The gate admits the request.
    Allowed,
    /// The gate refuses the request.
    Refused,
}

/// Runs `explain`.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &ExplainArgs, config: &Config, out: &mut dyn Write) -> Result<Verdict, CliError> {
    let request = Request::from_args(args, config)?;
    let gate = Gate::load(config.auth.as_ref(), &config.http.stream_base_path, Clock::system())
        .map_err(|error| CliError::Config(error.to_string()))?;
    let mut report = Report { out };
    if let (Some(authenticator), Some(auth)) = (gate.authenticator(), &config.auth) {
        report.token(&request.token, authenticator, auth)?;
    } else {
        report.line(Mark::Note, "server", "it is open: it asks for no token")?;
    }
    report.request(&request, gate.base())?;
    let (verdict, words) = request.put_to(&gate);
    writeln!(report.out, "{words}")?;
    Ok(verdict)
}

struct Request {
    token: String,
    method: Method,
    /// Without its query, so that it holds no second token.
    uri: Uri,
    headers: HeaderMap,
}

impl Request {
    /// The gate's own verdict: nothing else in this report decides anything.
    fn put_to(self, gate: &Gate) -> (Verdict, String) {
        let mut headers = self.headers;
        if let Ok(value) = HeaderValue::try_from(format!("Bearer {}", self.token)) {
            headers.insert(AUTHORIZATION, value);
        }
        let refused = |status: StatusCode, why: String| {
            let words = format!("REFUSED with {}: {why}", status.as_u16());
            (Verdict::Refused, words)
        };
        match gate.admit(&self.method, &self.uri, &headers, ListenerKind::Public, None) {
            Ok(Admission::Granted(permit)) if permit.route().access == Access::Wake => {
                let words = "it takes the token of a wake, which only the running server can verify";
                (Verdict::Allowed, format!("ALLOWED by the gate: {words}"))
            }
            Ok(Admission::Granted(permit)) if permit.route().access.is_open(false) => {
                (Verdict::Allowed, "ALLOWED: this needs no token".into())
            }
            Ok(Admission::Granted(permit)) => (Verdict::Allowed, format!("ALLOWED: {}", permit.route().name)),
            Ok(Admission::BadName(error)) => refused(problems::BAD_REQUEST.status, error.to_string()),
            Ok(Admission::Missing(missing)) => refused(missing.kind().status, missing.to_string()),
            Err(refusal) => refused(refusal.status(), refusal.to_string()),
        }
    }

    fn from_args(args: &ExplainArgs, config: &Config) -> Result<Self, CliError> {
        let usage = |what: String| CliError::Usage(what);
        let method = Method::try_from(args.method.to_uppercase().as_str())
            .map_err(|_| usage(format!("{:?} is not an HTTP method", args.method)))?;
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
            .map_err(|_| usage(format!("{:?} is not a URL; percent-encode what is not ASCII", args.url)))?;
        let mut headers = HeaderMap::new();
        for line in &args.headers {
            let header = line.split_once(':').and_then(|(name, value)| {
                Some((
                    HeaderName::try_from(name.trim()).ok()?,
                    HeaderValue::try_from(value.trim()).ok()?,
                ))
            });
            let (name, value) =
                header.ok_or_else(|| usage(format!("{line:?} is not a header; write `Name: value`")))?;
            headers.append(name, value);
        }
        let token = if args.token == "-" {
            candidates(query.as_deref(), &HeaderMap::new())
                .map_err(|error| usage(error.to_string()))?
                .pop()
                .ok_or_else(|| usage("the URL has no query parameter `token`".into()))?
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

    fn token(&mut self, text: &str, authenticator: &Authenticator, auth: &AuthConfig) -> io::Result<()> {
        let token = Token::parse(text);
        match &token {
            Ok(token) => {
                let kid = token.kid().map_or("no kid".into(), |kid| format!("kid {kid:?}"));
                self.line(Mark::Good, "header", &format!("ES256, {kid}"))?;
                self.signature(token, authenticator)?;
            }
            Err(error) => self.line(Mark::Bad, "header", &error.to_string())?,
        }
        let claims = token.ok().map(|token| token.claims());
        let readable = claims.as_ref().and_then(|claims| claims.as_ref().ok());
        match claims_as_sent(text) {
            Some(sent) => self.claims(&sent, readable, auth)?,
            None => self.line(Mark::Bad, "claims", "they are not a JSON object in base64url")?,
        }
        if let Some(Err(error)) = claims {
            self.line(Mark::Bad, "claims", &error.to_string())?;
        }
        Ok(())
    }

    fn signature(&mut self, token: &Token<'_>, authenticator: &Authenticator) -> io::Result<()> {
        let found = authenticator.with_keys(|keys| match token.signer(keys) {
            Ok(key) => Ok(format!("made by {} (kid {})", key.source().display(), key.kid())),
            Err(error) => {
                let kids: Vec<_> = keys.keys().map(|key| key.kid()).collect();
                Err(format!("{error}; the configured keys are {}", kids.join(", ")))
            }
        });
        match found {
            Ok(text) => self.line(Mark::Good, "signature", &text),
            Err(text) => self.line(Mark::Bad, "signature", &text),
        }
    }

    /// Shows the claims as sent. `claims` are the same as the gate reads them, if it can.
    fn claims(&mut self, sent: &Value, claims: Option<&Claims>, auth: &AuthConfig) -> io::Result<()> {
        let now = Clock::system().secs();
        for claim in ["exp", "nbf", "iat"] {
            let Some(value) = sent.get(claim) else { continue };
            let text = value
                .as_f64()
                .map_or_else(|| value.to_string(), |seconds| moment(seconds as i64, now));
            self.line(judge(claim, claims, auth, now), claim, &text)?;
        }
        for (claim, accepted) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
            let text = sent.get(claim).map_or("absent".into(), Value::to_string);
            if accepted.is_empty() {
                let text = format!("{text}; the configuration does not check it");
                self.line(Mark::Note, claim, &text)?;
            } else {
                let text = format!("{text}; expected {}", accepted.join(" or "));
                self.line(judge(claim, claims, auth, now), claim, &text)?;
            }
        }
        for claim in ["server", "stream", "permissions", "identity"] {
            if let Some(value) = sent.get(claim) {
                self.line(Mark::Note, claim, &value.to_string())?;
            }
        }
        Ok(())
    }

    fn request(&mut self, request: &Request, base: &str) -> io::Result<()> {
        let Found { route, stream } = match routes::find(&request.method, request.uri.path(), base, &request.headers) {
            Ok(found) => found,
            Err(missing) => {
                let text = format!("{missing}; streams are below {base}/");
                return self.line(Mark::Bad, "request", &text);
            }
        };
        let name = route.name;
        let asked = match stream {
            None => return self.line(Mark::Note, "request", &format!("{name}, which is not about one stream")),
            Some(Err(error)) => return self.line(Mark::Bad, "request", &format!("{name}, but {error}")),
            Some(Ok(asked)) => asked,
        };
        self.line(Mark::Note, "request", &format!("{name}, stream {:?}", asked.as_str()))?;
        let claims = Token::parse(&request.token).and_then(|token| token.claims());
        if let Ok(Claims {
            principal: Principal::Client { stream: own, .. },
            ..
        }) = claims
        {
            let is_own = is_own(&own, &asked);
            let text = match is_own {
                true => "the claim is the URL's stream".into(),
                false => format!("the claim {:?} is not the URL's {:?}", own.as_str(), asked.as_str()),
            };
            self.line(if is_own { Mark::Good } else { Mark::Bad }, "stream", &text)?;
        }
        Ok(())
    }
}

/// Asks the gate's rules about one claim, as if the others were acceptable.
fn judge(claim: &str, claims: Option<&Claims>, expected: &AuthConfig, now: u64) -> Mark {
    let Some(claims) = claims else {
        return Mark::Note;
    };
    let mut alone = claims.clone();
    let mut expected = expected.clone();
    if claim != "exp" {
        alone.exp = i64::MAX;
    }
    if claim != "nbf" {
        alone.nbf = None;
    }
    if claim != "iat" {
        alone.iat = None;
    }
    if claim != "iss" {
        expected.issuer.clear();
    }
    if claim != "aud" {
        expected.audience.clear();
    }
    match alone.accept(&expected, now) {
        Ok(_) => Mark::Good,
        Err(_) => Mark::Bad,
    }
}

/// The claims as they are in the token, whether or not it is signed.
fn claims_as_sent(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok().filter(Value::is_object)
}

fn moment(seconds: i64, now: u64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else {
        return format!("{seconds}, which is not a time in seconds since 1970");
    };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let distance = jiff::SignedDuration::from_secs(seconds.saturating_sub(now).saturating_abs());
    match seconds > now {
        true => format!("{time}, in {distance:#}"),
        false => format!("{time}, {distance:#} ago"),
    }
}
