//! Messages as bytes: who sent it, its number, and padding that follows from both.

use super::history::Message;

/// The content type of a stream, and how messages are separated in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/json`: strings.
    Json,
    /// `application/octet-stream`: each message ends with `;`.
    Bytes,
}

impl Form {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Bytes => "application/octet-stream",
        }
    }

    pub fn body(self, messages: &[Message]) -> String {
        let texts = messages.iter().map(|message| text(*message));
        match self {
            Self::Json => {
                let quoted: Vec<String> = texts.map(|text| format!("\"{text}\"")).collect();
                format!("[{}]", quoted.join(","))
            }
            Self::Bytes => texts.map(|text| format!("{text};")).collect(),
        }
    }

    /// The messages of a response, or what is wrong with it.
    pub fn messages(self, body: &[u8]) -> Result<Vec<Message>, String> {
        match self {
            Self::Json => {
                let texts: Vec<String> =
                    serde_json::from_slice(body).map_err(|error| wrong(&error.to_string(), body))?;
                texts.iter().map(|text| message(text)).collect()
            }
            Self::Bytes => {
                let text = str::from_utf8(body).map_err(|error| wrong(&error.to_string(), body))?;
                if text.is_empty() {
                    return Ok(Vec::new());
                }
                let texts = text
                    .strip_suffix(';')
                    .ok_or_else(|| wrong("a message without its end", body))?;
                texts.split(';').map(message).collect()
            }
        }
    }
}

fn wrong(what: &str, body: &[u8]) -> String {
    let end = body.len().saturating_sub(200);
    format!("{what}: … {}", String::from_utf8_lossy(&body[end..]))
}

/// Mostly short; some are larger than a row of an index, few larger than a chunk.
fn padding(message: Message) -> usize {
    let mixed = u64::from(message.number)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(u64::from(message.client).wrapping_mul(0xd1b5_4a32_d192_ed03));
    match (mixed >> 40) % 200 {
        0 => 70_000,
        1..=9 => 3_000,
        other => usize::try_from(other).unwrap_or(0) / 2,
    }
}

fn text(message: Message) -> String {
    format!("{message:?}:{}", "x".repeat(padding(message)))
}

fn message(found: &str) -> Result<Message, String> {
    let parse = || {
        let (client, number) = found.strip_prefix('m')?.split_once(':')?.0.split_once('-')?;
        Some(Message {
            client: client.parse().ok()?,
            number: number.parse().ok()?,
        })
    };
    let message = parse().filter(|message| text(*message) == found);
    message.ok_or_else(|| wrong("not a message that anybody sends", found.as_bytes()))
}

#[test]
fn messages_are_read_as_they_were_written() {
    let all: Vec<Message> = (0..500).map(|number| Message { client: 3, number }).collect();
    for form in [Form::Json, Form::Bytes] {
        let body = form.body(&all);
        assert_eq!(form.messages(body.as_bytes()).unwrap(), all);
        assert!(form.messages(&body.as_bytes()[..body.len() - 3]).is_err());
        assert!(form.messages(body.replacen("m3-7:x", "m3-7:", 1).as_bytes()).is_err());
    }
    assert_eq!(Form::Json.messages(b"[]").unwrap(), []);
    assert_eq!(Form::Bytes.messages(b"").unwrap(), []);
}
