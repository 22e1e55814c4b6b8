//! [`section!`] and [`choices!`]: the only places where a key or a word is declared.

/// Declares a section: a struct, and what is known of each of its keys.
///
/// A key is `name: Type = default;`, its documentation above it. In braces after the default go
/// the fields of [`Key`](super::Key) that differ, such as `{ min: 1, rails: "route" }`. Sections
/// within this one follow in `sections { … }`.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident : $type:ty = $default:expr $(, { $($attribute:ident : $value:expr),+ $(,)? })? ;
            )*
        }
        $(sections {
            $( $(#[doc = $sub_doc:literal])+ $sub:ident : $sub_type:ty ),+ $(,)?
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $($( $(#[doc = $sub_doc])+ pub $sub: $sub_type, )+)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )*
                    $($( $sub: Default::default(), )+)?
                }
            }
        }

        impl $crate::settings::Section for $name {
            fn describe() -> $crate::settings::SectionInfo {
                $crate::settings::SectionInfo {
                    about: concat!($($about),+),
                    optional: false,
                    keys: vec![$(
                        $crate::settings::Key {
                            $($($attribute: $value,)+)?
                            ..$crate::settings::Key::of::<$type>(stringify!($field), concat!($($doc),+))
                        }
                    ),*],
                    sections: vec![$($(
                        (stringify!($sub), <$sub_type as $crate::settings::Section>::describe())
                    ),+)?],
                }
            }
        }
    };
}

/// Declares an enum whose values are words. `refused` names words that are known and not
/// supported, with the reason.
macro_rules! choices {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal ),+ $(,)?
        }
        $(refused { $( $refused:literal = $reason:literal ),+ $(,)? })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $word)] $variant ),+
        }

        impl $name {
            /// The word for it.
            #[must_use]
            #[allow(dead_code, reason = "not every enum is shown")]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::settings::Setting for $name {
            const KIND: $crate::settings::Kind = $crate::settings::Kind::Word(&[$($word),+]);

            fn read(value: &$crate::settings::Value) -> Result<Self, Vec<$crate::settings::Refusal>> {
                $($(
                    if value.data.as_text() == Some($refused) {
                        return Err(vec![$crate::settings::Refusal::unsupported($reason)]);
                    }
                )+)?
                $crate::settings::choose(&value.data, &[$(($word, Self::$variant)),+])
            }
        }
    };
}

pub(crate) use {choices, section};
