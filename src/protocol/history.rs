//! The history that an imported stream continues. The protocol has no import; these headers are an
//! extension.

use http::HeaderMap;

use super::{
    BadInput, Offset,
    headers::{STREAM_EARLIEST_OFFSET, STREAM_LIVES, single},
};

/// The offsets of an exported stream, which remain valid for the imported one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Where its content begins; `None`: at the first position.
    pub earliest: Option<Offset>,
    /// The last offset of each life, oldest first. The last one is the exported stream's tail.
    pub lives: Vec<Offset>,
}

/// Reads `Stream-Lives`, offsets separated by commas, and `Stream-Earliest-Offset`.
///
/// # Errors
/// Malformed offsets, or the second header without the first.
pub fn parse(headers: &HeaderMap) -> Result<Option<History>, BadInput> {
    let earliest = single(headers, &STREAM_EARLIEST_OFFSET)?;
    let Some(lives) = single(headers, &STREAM_LIVES)? else {
        return match earliest {
            Some(_) => Err(BadInput::new("Stream-Earliest-Offset", "needs Stream-Lives")),
            None => Ok(None),
        };
    };
    let lives = lives.split(',').map(|life| Offset::parse("Stream-Lives", life.trim()));
    let earliest = earliest.map(|earliest| Offset::parse("Stream-Earliest-Offset", earliest));
    Ok(Some(History {
        earliest: earliest.transpose()?,
        lives: lives.collect::<Result<_, _>>()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Result<Option<History>, BadInput> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                http::HeaderName::try_from(*name).unwrap(),
                http::HeaderValue::try_from(*value).unwrap(),
            );
        }
        parse(&headers)
    }

    #[test]
    fn lives_are_offsets_separated_by_commas() {
        let at = |incarnation, position| Offset { incarnation, position };
        let two = "0000000000000007_0000000000000120,  0000000000000009_0000000000000340";
        let lives = vec![at(7, 12), at(9, 34)];
        let mut expected = History { earliest: None, lives };
        assert_eq!(given(&[]), Ok(None));
        assert_eq!(given(&[("stream-lives", two)]), Ok(Some(expected.clone())));
        expected.earliest = Some(at(7, 5));
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
