use super::*;

#[test]
fn defaults_apply_without_any_source() {
    let loaded = Fixture::new().ok();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.layers.origin("storage.mode"), Origin::Default);
    assert!(loaded.files.is_empty());
}

/// Each layer in turn overrides those before it, for one and the same key.
#[test]
fn seven_layers_in_their_order() {
    let limit = |bytes: u32| format!("[limits]\nmax_stream_bytes = {bytes}\n");
    let stream_bytes = |place: &Fixture| {
        let loaded = place.ok();
        let origin = place.cut(&loaded.layers.origin("limits.max_stream_bytes").to_string());
        (loaded.config.limits.max_stream_bytes, origin)
    };

    let place = Fixture::new();
    assert_eq!(stream_bytes(&place), (10_485_760, "default".into()));
    let place = place.profile("prod").var("DS_AUTH__MODE", "none");
    assert_eq!(stream_bytes(&place), (268_435_456, "profile prod".into()));
    let place = place.file("config/default.toml", limit(3));
    assert_eq!(stream_bytes(&place), (3, "config/default.toml:2".into()));
    let place = place.file("config/prod.toml", limit(4));
    assert_eq!(stream_bytes(&place), (4, "config/prod.toml:2".into()));
    let place = place.file("config/local.toml", limit(5));
    assert_eq!(stream_bytes(&place), (5, "config/local.toml:2".into()));
    let place = place.config("mine.toml", limit(6));
    assert_eq!(stream_bytes(&place), (6, "mine.toml:2".into()));
    let place = place.var("DS_LIMITS__MAX_STREAM_BYTES", "7");
    assert_eq!(stream_bytes(&place), (7, "DS_LIMITS__MAX_STREAM_BYTES".into()));

    let files: Vec<String> = place
        .ok()
        .files
        .iter()
        .map(|file| place.cut(&file.display().to_string()))
        .collect();
    assert_eq!(
        files,
        [
            "config/default.toml",
            "config/prod.toml",
            "config/local.toml",
            "mine.toml"
        ]
    );
}

#[test]
fn layers_are_merged_key_by_key() {
    let config = Fixture::new()
        .file(
            "config/default.toml",
            "[http]\ncors_origins = \"https://a.example\"\nstream_base_path = \"/a\"\n",
        )
        .file("config/local.toml", "[http]\nstream_base_path = \"/b\"\n")
        .ok()
        .config;
    assert_eq!(config.http.cors_origins, "https://a.example");
    assert_eq!(config.http.stream_base_path, "/b");
}

#[test]
fn every_profile_has_its_defaults() {
    let auth = |profile: &str| Fixture::new().profile(profile).var("DS_AUTH__MODE", "none");
    let with_tls = |profile: &str| {
        auth(profile)
            .var("DS_TRANSPORT__TLS__CERT_PATH", "/c")
            .var("DS_TRANSPORT__TLS__KEY_PATH", "/k")
    };
    let dev = Fixture::new().profile("dev").ok().config;
    assert_eq!(dev, Config::default());

    let prod = auth("prod").ok().config;
    assert_eq!(prod.transport.mode, TransportMode::Http);
    let tls = with_tls("prod-tls").ok().config;
    assert_eq!(tls.transport.mode, TransportMode::Tls);
    let mtls = with_tls("prod-mtls")
        .var("DS_TRANSPORT__TLS__CLIENT_CA_PATH", "/ca")
        .ok()
        .config;
    assert_eq!(mtls.transport.mode, TransportMode::Mtls);
    for config in [&prod, &tls, &mtls] {
        assert_eq!(config.storage.mode, StorageMode::FileDurable);
        assert_eq!(config.limits.max_memory_bytes, 512 << 20);
        assert_eq!(config.limits.max_stream_bytes, 256 << 20);
    }
    for config in [&tls, &mtls] {
        assert_eq!(config.transport.http.versions, [HttpVersion::Http1, HttpVersion::Http2]);
        assert_eq!(config.transport.tls.alpn_protocols, ["http/1.1", "h2"]);
    }
}

#[test]
fn prod_refuses_to_be_open_by_oversight() {
    for profile in ["prod", "prod-eu"] {
        let place = Fixture::new().profile(profile).file("config/prod-eu.toml", "");
        assert_eq!(
            place.error(),
            format!(
                "[validate_config] auth: is missing, and the profile {profile} needs it: \
                 write auth.verify_key, or auth.mode = \"none\" for an open server"
            )
        );
        place.var("DS_AUTH__MODE", "none").ok();
    }
}

#[test]
fn an_open_server_is_warned_of_once() {
    let warnings = Fixture::new().warnings();
    assert_eq!(warnings.len(), 1);
    for words in [
        "auth: no authentication configured: anyone who can reach 0.0.0.0:4437 may read, write and delete every stream",
        "any web page that is open in a browser",
        "Set auth.verify_key",
        "127.0.0.1:4437",
    ] {
        assert!(warnings[0].contains(words), "{warnings:?}");
    }
    let own_pages = Fixture::new()
        .var("DS_HTTP__CORS_ORIGINS", "https://app.test")
        .warnings();
    assert!(!own_pages[0].contains("web page"), "{own_pages:?}");
    assert!(toml("[auth]\nmode = \"none\"\n").warnings().is_empty());
}

#[test]
fn custom_profiles_need_a_file() {
    assert_eq!(
        Fixture::new().profile("prd").error(),
        "[load_config] --profile: the profile \"prd\" is none of default, dev, prod, prod-tls, prod-mtls, \
         and there is no config/prd.toml (did you mean \"prod\"?)"
    );
    let staging = Fixture::new()
        .profile("staging")
        .file("config/staging.toml", "[storage]\nmode = \"acid\"\n");
    assert_eq!(staging.ok().config.storage.mode, StorageMode::Acid);
    assert!(
        Fixture::new()
            .profile("../server")
            .file("server.toml", "")
            .load()
            .is_err()
    );
}

/// The files that the crate ships, as layers and as the profiles' own.
#[test]
fn the_shipped_files_load_in_each_profile() {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for profile in ["default", "dev", "prod", "prod-tls", "prod-mtls"] {
        let mut place = Fixture::new().profile(profile).var("DS_AUTH__MODE", "none");
        place.options.base_dir = shipped.into();
        if profile.ends_with("tls") {
            place = place
                .var("DS_TRANSPORT__TLS__CERT_PATH", "/c")
                .var("DS_TRANSPORT__TLS__KEY_PATH", "/k");
        }
        if profile == "prod-mtls" {
            place = place.var("DS_TRANSPORT__TLS__CLIENT_CA_PATH", "/ca");
        }
        assert_eq!(place.ok().warnings, [], "{profile}");
    }
}

/// `config/default.toml` documents every key, with the default that is in force; uncommented,
/// it says what the code says.
#[test]
fn the_shipped_default_file_documents_every_key() {
    let text = include_str!("../../../config/default.toml");
    let is_key = |line: &str| {
        line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[')
            && (line.contains(" = ") || line.starts_with('['))
    };
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line));
    let lines: Vec<&str> = lines.collect();
    let mut section = "";
    let mut keys = Vec::new();
    for line in &lines {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.split(']').next().unwrap_or_default();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.push(format!("{section}.{key}"));
        }
    }
    let mut all: Vec<String> = schema::Schema::get().paths().map(str::to_owned).collect();
    all.sort();
    keys.sort();
    assert_eq!(keys, all);

    let uncommented: Vec<&str> = lines.into_iter().filter(|line| !line.contains("no default")).collect();
    let mut config = toml(&uncommented.join("\n"))
        .var("DS_AUTH__VERIFY_KEY", "/k")
        .var("DS_INTERNAL__ALLOWED_IPS", "::1")
        .ok()
        .config;
    config.auth = None;
    config.internal = None;
    assert_eq!(config, Config::default());
}
