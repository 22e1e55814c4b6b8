//! The history that an imported stream continues. The protocol has no import: these headers are
//! an extension of this server.

use http::HeaderMap;

use super::{
    BadInput, Offset,
    headers::{STREAM_EARLIEST_OFFSET, STREAM_LIVES, single},
};

/// The offsets of a stream that was exported, which the imported one goes on from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// Where its content begins; `None`: at the first position.
    pub begin: Option<Offset>,
    /// The last offset of each life, oldest first. That of the exported stream itself is its tail.
    pub lives: Vec<Offset>,
}

/// `Stream-Lives`, offsets divided by commas, and `Stream-Earliest-Offset`.
///
/// # Errors
/// Malformed offsets, or the second header without the first.
pub fn past(headers: &HeaderMap) -> Result<Option<Past>, BadInput> {
    let begin = single(headers, &STREAM_EARLIEST_OFFSET)?;
    let Some(lives) = single(headers, &STREAM_LIVES)? else {
        return match begin {
            Some(_) => Err(BadInput::new("Stream-Earliest-Offset", "needs Stream-Lives")),
            None => Ok(None),
        };
    };
    let lives = lives.split(',').map(|life| Offset::parse("Stream-Lives", life.trim()));
    let begin = begin.map(|begin| Offset::parse("Stream-Earliest-Offset", begin));
    Ok(Some(Past {
        begin: begin.transpose()?,
        lives: lives.collect::<Result<_, _>>()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Result<Option<Past>, BadInput> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                http::HeaderName::try_from(*name).unwrap(),
                http::HeaderValue::try_from(*value).unwrap(),
            );
        }
        past(&headers)
    }

    #[test]
    fn lives_are_offsets_divided_by_commas() {
        let at = |incarnation, position| Offset { incarnation, position };
        let two = "0000000000000007_0000000000000120,  0000000000000009_0000000000000340";
        let lives = vec![at(7, 12), at(9, 34)];
        let mut expected = Past { begin: None, lives };
        assert_eq!(given(&[]), Ok(None));
        assert_eq!(given(&[("stream-lives", two)]), Ok(Some(expected.clone())));
        expected.begin = Some(at(7, 5));
        let begin = ("stream-earliest-offset", "0000000000000007_0000000000000050");
        assert_eq!(given(&[("stream-lives", two), begin]), Ok(Some(expected)));
        let one = "0000000000000007_0000000000000120";
        for (refused, name) in [
            (&[begin][..], "Stream-Earliest-Offset"),
            (&[("stream-lives", "")], "Stream-Lives"),
            (&[("stream-lives", "-1")], "Stream-Lives"),
            (&[("stream-lives", &format!("{one},"))], "Stream-Lives"),
            (&[("stream-lives", one), ("stream-lives", one)], "Stream-Lives"),
            (
                &[("stream-lives", one), ("stream-earliest-offset", "now")],
                "Stream-Earliest-Offset",
            ),
        ] {
            assert_eq!(given(refused).unwrap_err().name, name, "{refused:?}");
        }
    }
}
