//! Faults of a JSON text.

/// Why a text is refused. One byte, because every step of the scanner returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    InvalidUtf8,
    NoValue,
    NoName,
    NoColon,
    NoCommaInArray,
    NoCommaInObject,
    NoDigit,
    LeadingZero,
    ControlCharacter,
    UnfinishedString,
    InvalidEscape,
    TrailingText,
    TooDeep,
    HalfSurrogate,
    OutOfRange,
    LongNumber,
}

impl Fault {
    /// The fault, and whether it makes the text invalid JSON.
    pub(super) fn describe(self) -> (&'static str, bool) {
        match self {
            Self::InvalidUtf8 => ("invalid UTF-8", true),
            Self::NoValue => ("expected a value", true),
            Self::NoName => ("expected a member's name in quotes", true),
            Self::NoColon => ("expected `:`", true),
            Self::NoCommaInArray => ("expected `,` or `]`", true),
            Self::NoCommaInObject => ("expected `,` or `}`", true),
            Self::NoDigit => ("expected a digit", true),
            Self::LeadingZero => ("a number with a leading zero", true),
            Self::ControlCharacter => ("unescaped control character in a string", true),
            Self::UnfinishedString => ("unfinished string", true),
            Self::InvalidEscape => ("invalid escape", true),
            Self::TrailingText => ("unexpected text after the value", true),
            Self::TooDeep => ("a message that nests too deep", false),
            Self::HalfSurrogate => ("an escaped surrogate without its other half", false),
            Self::OutOfRange => ("a number beyond the range of a double (about 1.8e308)", false),
            Self::LongNumber => ("a number of more than 1000 bytes", false),
        }
    }
}
