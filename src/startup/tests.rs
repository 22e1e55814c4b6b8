use super::*;

#[test]
fn phases_have_the_names_of_the_documentation_and_their_exit_codes() {
    use Phase::*;
    let phases = [
        (LoadConfig, "load_config", 78),
        (ValidateConfig, "validate_config", 78),
        (LoadKeys, "load_keys", 78),
        (CheckTlsFiles, "check_tls_files", 78),
        (BuildTlsContext, "build_tls_context", 1),
        (BindListener, "bind_listener", 1),
        (StartServer, "start_server", 1),
    ];
    for (phase, name, code) in phases {
        assert_eq!(phase.to_string(), name);
        let error = StartupError::new(phase, "it is broken");
        assert_eq!(error.to_string(), format!("[{name}] it is broken"));
        assert_eq!(error.exit_code(), code);
    }
}

#[test]
fn causes_are_on_the_same_line() {
    let cause = std::io::Error::new(std::io::ErrorKind::AddrInUse, "address in use");
    let error = StartupError::with_source(Phase::BindListener, "cannot listen on 0.0.0.0:4437", cause);
    assert_eq!(
        error.to_string(),
        "[bind_listener] cannot listen on 0.0.0.0:4437: address in use"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn several_problems_take_a_line_each() {
    let error = StartupError::several(Phase::LoadKeys, vec!["one".into(), "two".into()]);
    assert_eq!(error.to_string(), "[load_keys] 2 problems\n  one\n  two");
}
