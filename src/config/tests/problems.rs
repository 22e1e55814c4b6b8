use super::*;

#[test]
fn all_problems_are_reported_at_once_with_file_line_and_key() {
    let place = Fixture::new()
        .file("config/default.toml", "[storage]\nmode = \"acidic\"\n\n[limits]\nmax_stream_byte = 5\n")
        .config(
            "mine.toml",
            "[http]\nstream_base_path = 'v1'\ncors_origins = true\n\n[transport.tls]\nmin_version = 1.3\nmax_version = \"1.2\"\n\n[proxy]\nenabled = true\nforwarded_headers = \"forwarded\"\ntrusted_proxies = [\n  \"10.0.0.0/24\",\n  \"10.0.0.0/99\",\n]\n",
        )
        .var("DS_LIMITS__MAX_STREAMS", "many");
    assert_eq!(
        place.error(),
        "[load_config] 7 problems\n  \
         config/default.toml:2: storage.mode: \"acidic\" is not one of memory, file-fast, file-durable, acid, postgres (did you mean \"acid\"?)\n  \
         config/default.toml:5: limits.max_stream_byte: unknown key (did you mean \"limits.max_stream_bytes\"?)\n  \
         mine.toml:2: http.stream_base_path: \"v1\" must begin with \"/\"\n  \
         mine.toml:3: http.cors_origins: expected text, found true\n  \
         mine.toml:6: transport.tls.min_version: transport.tls.min_version (\"1.3\") is above transport.tls.max_version (\"1.2\")\n  \
         mine.toml:14: proxy.trusted_proxies: \"10.0.0.0/99\" is not an IP address or CIDR block, such as \"10.0.0.4\" or \"10.0.0.0/24\"\n  \
         DS_LIMITS__MAX_STREAMS: limits.max_streams: expected a whole number, found \"many\""
    );
}

#[test]
fn a_misplaced_key_is_shown_its_place() {
    assert_eq!(
        toml("[transport]\nlong_poll_timeout_secs = 5\n").error(),
        "[load_config] server.toml:2: transport.long_poll_timeout_secs: unknown key \
         (did you mean \"transport.connection.long_poll_timeout_secs\"?)"
    );
    assert_eq!(
        toml("[storge]\nmode = \"acid\"\n").error(),
        "[load_config] server.toml:1: storge: unknown key (did you mean \"storage\"?)"
    );
    assert_eq!(
        toml("[sever]\nq = 1\n[zzzzzz]\nq = 1\n").error(),
        "[load_config] 2 problems\n  server.toml:1: sever: unknown key (did you mean \"server\"?)\n  \
         server.toml:3: zzzzzz: unknown key; `config` prints all keys"
    );
}

#[test]
fn values_of_a_wrong_type() {
    let message = |text: &str| toml(text).error();
    assert_eq!(
        message("storage = 5\n"),
        "[load_config] server.toml:1: storage: expected a section with keys of its own, found the number 5"
    );
    assert_eq!(
        message("auth = 'x'\n"),
        "[load_config] server.toml:1: auth: expected a section with keys of its own, found the text \"x\""
    );
    assert_eq!(
        message("[proxy]\nenabled = \"true\"\n"),
        "[load_config] server.toml:2: proxy.enabled: expected true or false, found the text \"true\""
    );
    assert_eq!(
        message(
            "[limits]\nmax_streams = 1.5\nmax_body_bytes = 99999999999999999999\n[storage]\ndata_dir = 1979-05-27\n"
        ),
        "[load_config] 3 problems\n  \
         server.toml:2: limits.max_streams: expected a whole number, found the number 1.5\n  \
         server.toml:3: limits.max_body_bytes: expected a whole number from 0 to 18446744073709551615, found the number 99999999999999999999\n  \
         server.toml:5: storage.data_dir: expected a path, found the date 1979-05-27"
    );
}

#[test]
fn all_syntax_errors_of_a_file_have_their_lines() {
    let error = toml("[server]\nbind_address = \n\n[storage\nmode = \"acid\"\n").error();
    assert!(error.starts_with("[load_config] "), "{error}");
    assert!(error.contains("server.toml:2: TOML syntax: "), "{error}");
    assert!(error.contains("server.toml:4: TOML syntax: "), "{error}");
}

#[test]
fn files_that_cannot_be_read() {
    let mut place = Fixture::new();
    place.options.config_path = Some(place.path("nowhere.toml"));
    assert_eq!(place.error(), "[load_config] nowhere.toml: no such file");
    place.options.config_path = Some(place.path("config"));
    assert_eq!(place.error(), "[load_config] config: is a directory, not a file");
    assert_eq!(
        toml("a")
            .config("s.toml", b"# \xc3\xa4\n[http]\ncors_origins = \"\xff\"\n")
            .error(),
        "[load_config] s.toml:3: not UTF-8 text: byte 17 of line 3"
    );
    assert_eq!(
        toml("").config("s.toml", vec![b'#'; 10 << 20]).error(),
        "[load_config] s.toml: larger than 1024 KiB: this is not a configuration file"
    );
    let mut place = rails("production", "");
    place.options.config_path = Some(place.path("config/none.yml"));
    assert_eq!(place.error(), "[load_config] config/none.yml: no such file");
}

#[test]
fn windows_files_are_read_with_their_lines() {
    let place = toml("\u{feff}[storage]\r\nmode = \"acid\"\r\n");
    assert_eq!(place.ok().config.storage.mode, StorageMode::Acid);
    assert_eq!(
        place.cut(&place.ok().layers.origin("storage.mode").to_string()),
        "server.toml:2"
    );
    let place = rails("test", "\u{feff}test:\r\n  port: 1\r\n  auth:\r\n    mode: none\r\n");
    assert_eq!(place.ok().config.server.bind_address.port(), 1);
}

#[test]
fn deeply_nested_toml_is_refused() {
    let nested = format!("[storage]\nmode = {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(toml(&nested).error().contains("server.toml:2"), "refused");
}

#[test]
fn toml_of_too_many_values_is_refused() {
    let lines = |line: &dyn Fn(usize) -> String| (0..5000).map(line).collect::<String>();
    for (many, line) in [
        (format!("[storage]\nmode = [{}]\n", "1,".repeat(400_000)), 2),
        // Each part of a key is a table.
        (lines(&|n| format!("[a{n}.b.c.d.e]\n")), 2001),
        (lines(&|n| format!("a{n}.b.c.d.e = 1\n")), 2001),
        (lines(&|n| format!("a{n} = {{b.c.d = 1}}\n")), 2001),
    ] {
        let error = toml(&many).error();
        let expected = format!("server.toml:{line}: more than 10000 values");
        assert!(error.contains(&expected), "{error}");
    }
    let addresses: Vec<_> = (0..3000).map(|n| format!("\"10.0.{}.{}\"", n / 256, n % 256)).collect();
    toml(&format!("[proxy]\ntrusted_proxies = [{}]\n", addresses.join(", "))).ok();
}

#[test]
fn a_caddyfile_is_recognised() {
    let caddyfile = "{\n\tadmin off\n\tauto_https off\n}\n\n:4437 {\n\troute /v1/streams/* {\n\t\tdurable_streams {\n\t\t\tdata_dir ./data\n\t\t}\n\t}\n}\n";
    for name in [
        "Caddyfile",
        "Caddyfile.production",
        "prod.caddyfile",
        "server.toml",
        "server.conf",
    ] {
        let error = Fixture::new().config(name, caddyfile).error();
        assert_eq!(error.lines().count(), 1, "{error}");
        let start = format!("[load_config] {name}: is a Caddyfile, which configures the Caddy server: ");
        assert!(
            error.starts_with(&start) && error.contains("config/durable_streams.yml"),
            "{error}"
        );
    }
    // Broken TOML stays broken TOML.
    assert!(toml("[server\nport = {\n").error().contains("TOML syntax"));
}

#[test]
fn reports_show_no_secrets_and_stay_short() {
    let place = toml(
        "[server]\nbind_address = \"https://ops:hunter2@host/\"\n[http]\ncache = \"-----BEGIN EC PRIVATE KEY-----\\nabc\"\n",
    );
    let error = place.error();
    assert!(!error.contains("hunter2") && error.contains("ops:***@host"), "{error}");
    assert!(!error.contains("abc") && error.lines().count() == 3, "{error}");
    let long = toml(&format!("[http]\ncache = \"{}\"\n", "x".repeat(10_000))).error();
    assert!(long.len() < 300, "{long}");
}

#[test]
fn a_quoted_key_with_dots_is_no_path() {
    let error = toml("\"transport.mode\" = \"tls\"\n").error();
    assert!(error.contains("server.toml:1: transport.mode: unknown key"), "{error}");
    let error = rails("test", "test:\n  \"transport.mode\": tls\n  auth: {mode: none}\n").error();
    assert!(error.contains("yml:2: transport.mode: unknown key"), "{error}");
}

#[test]
fn keys_cannot_break_the_report() {
    let error = toml("\"a\\nb\" = 1\n").error();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(toml(&format!("{} = 1\n", "k".repeat(500_000))).error().len() < 400);
}

/// Neither a stack overflow nor a long wait, whatever a file holds.
#[test]
fn hostile_files_are_answered_with_a_report() {
    let dotted = vec!["a"; 200_000].join(".");
    for text in [
        format!("{dotted} = 1\n"),
        format!("[{dotted}]\nb = 1\n"),
        format!("[[{dotted}]]\nb = 1\n"),
        "a={".repeat(100_000),
        (0..60_000).map(|n| format!("key_{n} = 1\n")).collect(),
    ] {
        let error = toml(&text).load().unwrap_err();
        assert!(!error.problems().is_empty());
    }
    let deep = format!("DS_{}", vec!["A"; 40_000].join("__"));
    assert!(Fixture::new().var(&deep, "1").load().is_err());
}

/// One character wrong anywhere: an answer, never a crash, and each problem on one line.
#[test]
fn a_typo_anywhere_is_answered_with_a_report() {
    let yaml = "default: &default\n  port: <%= ENV.fetch(\"PORT\", 1) %>\n  auth: {mode: none}\nproduction:\n  <<: *default\n  domain: a.example.com:8443\n  storage:\n    lock_wait: 3s\n    data_dir: \"/d\"\n  internal: {allowed_ips: [10.0.0.4/8, '::1'], bind: 10.0.0.5}\n";
    let toml = "[server]\nport = 1_0\n[transport]\nmode = \"http\"\nhttp.versions = ['http1']\n[proxy]\ntrusted_proxies = [\"10.0.0.0/8\"] # x\n[log]\nrust_log = \"info\"\n";
    for (name, text) in [("server.yml", yaml), ("server.toml", toml)] {
        for at in 0..text.len() {
            for slip in [
                "", "\"", "'", ":", "\t", "\n", "[", "{", "#", "&", "*", "<", "%", "-", "é", "\u{0}", ".",
            ] {
                let changed = format!("{}{slip}{}", &text[..at], &text[at + 1..]);
                if let Err(error) = Fixture::new().config(name, &changed).env("production").load() {
                    let lines = error.problems().iter().map(ToString::to_string);
                    assert!(lines.clone().all(|line| !line.contains('\n')), "{lines:?}");
                }
            }
        }
    }
}
