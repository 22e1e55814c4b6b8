use super::*;

#[test]
fn every_header_has_its_own_name_as_its_label() {
    for name in [
        STREAM_TTL,
        STREAM_SSE_DATA_ENCODING,
        PRODUCER_ID,
        http::header::WWW_AUTHENTICATE,
    ] {
        assert!(label(&name).eq_ignore_ascii_case(name.as_str()), "{name}");
    }
    assert_eq!(label(&STREAM_TTL), "Stream-TTL");
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn only_true_closes() {
    for (value, closes_it) in [
        ("true", true),
        ("TRUE", true),
        (" true ", true),
        ("1", false),
        ("yes", false),
        ("", false),
    ] {
        assert_eq!(
            is_closing(&headers(&[("stream-closed", value)])),
            closes_it,
            "{value:?}"
        );
    }
    for (one, two, closes_it) in [
        ("true", "true", true),
        ("True", " true", true),
        ("true", "false", false),
        ("false", "true", false),
        ("true", "", false),
    ] {
        let repeated = headers(&[("stream-closed", one), ("stream-closed", two)]);
        assert_eq!(is_closing(&repeated), closes_it, "{one:?} {two:?}");
        let joined = format!("{one}, {two}");
        assert_eq!(
            is_closing(&headers(&[("stream-closed", &joined)])),
            closes_it,
            "{joined:?}"
        );
    }
}

#[test]
fn a_ttl_is_plain_digits() {
    assert_eq!(
        lifetime(&headers(&[("stream-ttl", "3600")])),
        Ok(Some(Lifetime::Ttl(3600)))
    );
    assert_eq!(lifetime(&headers(&[("stream-ttl", "0")])), Ok(Some(Lifetime::Ttl(0))));
    for value in [
        "",
        "+1",
        "-1",
        "01",
        "1.0",
        "1e3",
        "1 0",
        "99999999999999999999",
        "9999999999999",
    ] {
        assert!(lifetime(&headers(&[("stream-ttl", value)])).is_err(), "{value:?}");
    }
}

#[test]
fn a_moment_is_rfc_3339() {
    let at = lifetime(&headers(&[("stream-expires-at", "2030-01-31T12:00:00+01:00")]));
    assert_eq!(at, Ok(Some(Lifetime::ExpiresAt(1_896_087_600_000))));
    assert_eq!(format_timestamp(1_896_087_600_000), "2030-01-31T11:00:00.000Z");
    for value in [
        "",
        "tomorrow",
        "2030-01-31",
        "2030-01-31 12:00:00",
        "2030-13-31T12:00:00Z",
        "1896087600",
    ] {
        assert!(
            lifetime(&headers(&[("stream-expires-at", value)])).is_err(),
            "{value:?}"
        );
    }
    assert!(
        lifetime(&headers(&[
            ("stream-ttl", "1"),
            ("stream-expires-at", "2030-01-31T12:00:00Z")
        ]))
        .is_err()
    );
}

#[test]
fn producer_headers_come_together() {
    let all = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "7")];
    assert_eq!(
        producer(&headers(&all)),
        Ok(Some(ProducerStamp {
            id: "p".into(),
            epoch: 0,
            seq: 7
        }))
    );
    assert_eq!(producer(&headers(&[])), Ok(None));
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        assert!(producer(&headers(&some)).is_err());
    }
    for bad in ["", "-1", "1.5", "abc", "1e3", "9007199254740992"] {
        assert!(
            producer(&headers(&[all[0], ("producer-epoch", bad), all[2]])).is_err(),
            "{bad:?}"
        );
        assert!(
            producer(&headers(&[all[0], all[1], ("producer-seq", bad)])).is_err(),
            "{bad:?}"
        );
    }
    assert!(producer(&headers(&[("producer-id", ""), all[1], all[2]])).is_err());
    assert!(producer(&headers(&[all[0], all[0], all[1], all[2]])).is_err());
}

#[test]
fn fork_headers_need_their_source() {
    let from = ("stream-forked-from", "/v1/stream/a");
    let zero = ("stream-fork-offset", "0000000000000000_0000000000000000");
    let sub = ("stream-fork-sub-offset", "3");
    assert_eq!(fork(&headers(&[])), Ok(None));
    let map = headers(&[from, zero, sub]);
    assert_eq!(
        fork(&map),
        Ok(Some(ForkHeaders {
            from: "/v1/stream/a",
            offset: Some(Offset::BEGINNING),
            sub_offset: 3
        }))
    );
    assert!(fork(&headers(&[zero])).is_err());
    assert!(fork(&headers(&[("stream-fork-sub-offset", "0")])).is_err());
    assert!(fork(&headers(&[from, sub])).is_err());
    for bad in ["-1", "01", "a", "1.5", ""] {
        assert!(
            fork(&headers(&[from, zero, ("stream-fork-sub-offset", bad)])).is_err(),
            "{bad:?}"
        );
    }
}
