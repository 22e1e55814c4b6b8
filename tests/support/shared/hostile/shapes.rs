//! Malformed tokens.

use serde_json::json;

use super::{
    super::tokens::{encode, with},
    Table,
};

impl Table {
    pub(super) fn malformed(&mut self) {
        self.malformed_parts();
        self.malformed_headers();
        self.malformed_claims();
    }

    fn malformed_parts(&mut self) {
        let sign = self.issuer.clone();
        let good = sign.token(&self.reader());
        let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
        let [header, claims, signature] = [&parts[0], &parts[1], &parts[2]];
        // The last base64url character of 64 bytes has four unused bits.
        let last = signature.chars().last().unwrap();
        let twin = char::from(last as u8 + 1);
        for token in [
            String::new(),
            ".".into(),
            "..".into(),
            "...".into(),
            "x".into(),
            "null".into(),
            header.clone(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.x"),
            format!("{header}..{signature}"),
            format!("{header}.{claims}..{signature}"),
            format!("{good}="),
            format!("{header}=.{claims}.{signature}"),
            format!("{header}.{claims}=.{signature}"),
            format!("{good} x"),
            format!("{header}. {claims}.{signature}"),
            format!("{header}.{claims}\t.{signature}"),
            format!("\"{good}\""),
            format!("{good},{good}"),
            format!("{header}.{claims}.{}{twin}", &signature[..signature.len() - 1]),
            format!("{header}.{claims}.{}", signature.to_uppercase()),
            "A".repeat(5000),
            format!("{}.{claims}.{signature}", encode([0xff, 0xfe])),
        ] {
            self.refuse(&format!("malformed: {:.40}", token), &token);
        }
        self.refuse(
            "longer than 8 KiB",
            &sign.token(&with(self.reader(), "pad", json!("x".repeat(7000)))),
        );
    }

    fn malformed_headers(&mut self) {
        let (sign, text) = (self.issuer.clone(), self.reader().to_string());
        for header in [
            "",
            "{}",
            "[]",
            "null",
            "\"ES256\"",
            "{\"alg\":\"ES256\"",
            "{\"alg\":\"ES256\"}x",
            "{\"alg\":\"ES256\"}{}",
            "{\"alg\":\"none\",\"alg\":\"ES256\"}",
            "{\"alg\":\"ES256\",\"alg\":\"ES256\"}",
            "{\"alg\":\"ES256\",\"kid\":\"a\",\"k\\u0069d\":\"b\"}",
            "{\"alg\":\"ES256\",\"kid\":7}",
            "{\"alg\":\"ES256\",\"kid\":null}",
            "{\"alg\":\"ES256\",\"typ\":[]}",
            "{'alg':'ES256'}",
            "\u{feff}{\"alg\":\"ES256\"}",
            "{\"ALG\":\"ES256\"}",
        ] {
            self.refuse(&format!("header {header:?}"), &sign.sign(header, &text));
        }
    }

    fn malformed_claims(&mut self) {
        let (sign, text) = (self.issuer.clone(), self.reader().to_string());
        let inside = text.trim_start_matches('{').trim_end_matches('}').to_owned();
        for claims in [
            String::new(),
            "null".into(),
            "[]".into(),
            format!("[{text}]"),
            format!("{text}{text}"),
            format!("{text},"),
            format!("{{{inside},\"stream\":\"other\"}}"),
            format!("{{{inside},\"permissions\":[\"write\"]}}"),
            format!("{{{inside},\"exp\":9999999999}}"),
            format!("{{{inside},\"e\\u0078p\":9999999999}}"),
            format!("{{{inside},\"a\":{{\"b\":1,\"b\":2}}}}"),
            format!("{{{inside},\"n\":1e999}}"),
            format!("{{{inside},\"n\":NaN}}"),
            format!("{{{inside},\"deep\":{}{}}}", "[".repeat(500), "]".repeat(500)),
            format!("{{{inside},\"lone\":\"\\ud800\"}}"),
        ] {
            self.refuse(
                &format!("claims {:.60}…", claims.replace(&inside, "…")),
                &sign.sign(r#"{"alg":"ES256"}"#, &claims),
            );
        }
    }
}
