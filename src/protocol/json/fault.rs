//! Faults of a JSON text.

/// Why a text is refused. A single byte, because every step of the scanner returns one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    InvalidUtf8,
    ExpectedValue,
    ExpectedName,
    ExpectedColon,
    ExpectedCommaInArray,
    ExpectedCommaInObject,
    ExpectedDigit,
    LeadingZero,
    ControlCharacter,
    UnterminatedString,
    InvalidEscape,
    TrailingText,
    TooDeep,
    UnpairedSurrogate,
    OutOfRange,
    NumberTooLong,
}

impl Fault {
    /// Whether the text is invalid JSON, rather than JSON that common parsers reject.
    pub fn is_invalid_json(self) -> bool {
        !matches!(
            self,
            Self::TooDeep | Self::UnpairedSurrogate | Self::OutOfRange | Self::NumberTooLong
        )
    }

    pub fn describe(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::ExpectedValue => "expected a value",
            Self::ExpectedName => "expected a member's name in quotes",
            Self::ExpectedColon => "expected `:`",
            Self::ExpectedCommaInArray => "expected `,` or `]`",
            Self::ExpectedCommaInObject => "expected `,` or `}`",
            Self::ExpectedDigit => "expected a digit",
            Self::LeadingZero => "a number with a leading zero",
            Self::ControlCharacter => "unescaped control character in a string",
            Self::UnterminatedString => "unterminated string",
            Self::InvalidEscape => "invalid escape",
            Self::TrailingText => "unexpected text after the value",
            Self::TooDeep => "a message that nests too deeply",
            Self::UnpairedSurrogate => "an unpaired surrogate escape",
            Self::OutOfRange => "a number beyond the range of a double (about 1.8e308)",
            Self::NumberTooLong => "a number longer than 1000 bytes",
        }
    }
}
