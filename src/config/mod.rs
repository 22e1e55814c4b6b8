//! The configuration: composes the sections that the modules declare, and knows files, layers
//! and the two forms.
//!
//! figment merges the layers and keeps where each value came from; serde-saphyr and `toml` parse
//! the files. Values are read before they are merged, by the types in `settings`: figment would
//! stop at the first value that does not fit, knows a file but not the line, and gives the text
//! of a variable a type before the key has had its say.

mod erb;
mod file;
mod host;
mod layers;
mod legacy;
mod load;
mod problem;
mod rails;
mod render;
mod schema;
mod sections;
mod toml_file;
mod tree;
mod validate;
mod variables;
mod yaml;

#[cfg(test)]
mod tests;

pub use load::{ConfigLoadOptions, Loaded};
pub use problem::LoadError;
pub use sections::Config;

#[cfg(test)]
pub use crate::settings::Origin;
pub use crate::{settings::Stage, storage::StorageMode};
