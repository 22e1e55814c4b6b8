//! The ground of the configuration: how a section declares its keys, and the types of their
//! values. Nothing here knows files or layers; `config` does.
//!
//! A section is declared once, with [`section!`], in the module that uses it. Struct, defaults,
//! ranges, the generated documents and the suggestions for misspelt keys come from that.

pub(crate) mod duration;
mod key;
mod macros;
mod origin;
mod refusal;
pub(crate) mod text;
pub(crate) mod toml_value;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use key::{Key, Kind, Section, SectionInfo, Setting};
pub(crate) use macros::{choices, section};
pub use origin::Origin;
pub(crate) use refusal::Refusal;
pub use refusal::Stage;
pub(crate) use types::choose;
pub(crate) use value::{Data, Table, Value};
