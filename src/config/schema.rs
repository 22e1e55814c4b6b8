//! The walk over the schema.
//!
//! Each section names its fields once, in [`section!`] next to its struct; the macro takes
//! the struct apart without `..`, so a field that is missing there does not compile. Reading
//! a layer, listing the keys and printing the result are all this one walk with another
//! [`Walker`].

use super::{
    problem::{Refusal, Stage},
    value::{Data, Value},
};

/// What is done at each section and field.
pub(super) trait Walker {
    /// Whether to go into a section; [`Walker::leave`] follows exactly when it says yes.
    fn enter(&mut self, name: &'static str) -> bool;
    /// The section's fields have been walked.
    fn leave(&mut self);
    /// Whether an optional section that is absent shall be made.
    fn wants(&mut self, name: &'static str) -> bool;
    /// One field.
    fn leaf(&mut self, name: &'static str, leaf: &mut dyn Leaf);
}

/// A section, or one of its fields.
pub(super) trait Item {
    fn walk(&mut self, name: &'static str, walker: &mut dyn Walker);
}

/// A struct of items.
pub(super) trait Section {
    fn fields(&mut self, walker: &mut dyn Walker);
}

/// A field's value as the walkers see it.
pub(super) trait Leaf {
    /// Takes the value over, or says everything that is wrong with it.
    fn set(&mut self, value: &Value) -> Result<(), Vec<Refusal>>;
    /// The value in TOML; `None` when there is none.
    fn show(&self) -> Option<String>;
}

/// A single value: how it is read and written stands with its type.
pub(super) trait Scalar: Sized {
    fn read(data: &Data) -> Result<Self, Refusal>;
    fn show(&self) -> String;
}

impl<T: Leaf> Item for T {
    fn walk(&mut self, name: &'static str, walker: &mut dyn Walker) {
        walker.leaf(name, self);
    }
}

impl<T: Scalar> Leaf for T {
    fn set(&mut self, value: &Value) -> Result<(), Vec<Refusal>> {
        *self = T::read(&value.data).map_err(|refusal| vec![refusal])?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(Scalar::show(self))
    }
}

impl<T: Scalar> Leaf for Option<T> {
    fn set(&mut self, value: &Value) -> Result<(), Vec<Refusal>> {
        // `DS_X=` in a compose file means that there is none.
        if matches!(&value.data, Data::Plain(text) if text.is_empty()) {
            *self = None;
            return Ok(());
        }
        *self = Some(T::read(&value.data).map_err(|refusal| vec![refusal])?);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.as_ref().map(Scalar::show)
    }
}

impl<T: Scalar> Leaf for Vec<T> {
    fn set(&mut self, value: &Value) -> Result<(), Vec<Refusal>> {
        let items = value.items().map_err(|refusal| vec![refusal])?;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for item in items.iter() {
            match T::read(&item.data) {
                Ok(item) => good.push(item),
                Err(refusal) => bad.push(refusal.at(&item.origin)),
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        *self = good;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        // An empty list is written like no list: some keys must not be given empty.
        if self.is_empty() {
            return None;
        }
        let items: Vec<String> = self.iter().map(Scalar::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// Reads one of a fixed set of words.
pub(super) fn choose<T: Copy>(data: &Data, choices: &[(&str, T)]) -> Result<T, Refusal> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let Some(text) = data.as_word() else {
        return Err(data.wrong_type(&format!("one of {}", names.join(", "))));
    };
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, choice)) => Ok(*choice),
        None => Err(Refusal::new(
            Stage::Load,
            format!(
                "{} is not one of {}{}",
                super::value::quote(text),
                names.join(", "),
                super::problem::did_you_mean(text, names.iter().copied())
            ),
        )),
    }
}

/// Names a section's fields, once.
macro_rules! section {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::config::schema::Section for $type {
            fn fields(&mut self, walker: &mut dyn $crate::config::schema::Walker) {
                let Self { $($field),+ } = self;
                $( $crate::config::schema::Item::walk($field, stringify!($field), walker); )+
            }
        }

        impl $crate::config::schema::Item for $type {
            fn walk(&mut self, name: &'static str, walker: &mut dyn $crate::config::schema::Walker) {
                if walker.enter(name) {
                    $crate::config::schema::Section::fields(self, walker);
                    walker.leave();
                }
            }
        }

        impl $crate::config::schema::Item for Option<$type> {
            fn walk(&mut self, name: &'static str, walker: &mut dyn $crate::config::schema::Walker) {
                if self.is_some() || walker.wants(name) {
                    $crate::config::schema::Item::walk(self.get_or_insert_default(), name, walker);
                }
            }
        }
    };
}

/// Gives an enum's values their words, once.
macro_rules! choices {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $crate::config::schema::Scalar for $type {
            fn read(data: &$crate::config::value::Data) -> Result<Self, $crate::config::problem::Refusal> {
                $crate::config::schema::choose(data, &[$(($name, Self::$variant)),+])
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => format!("{:?}", $name)),+ }
            }
        }
    };
}

pub(super) use {choices, section};
