//! From parsed TOML to [`Data`].

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Data, Origin, Refusal, Table, Value, text::one_line};

/// Turns a place in the text into an origin.
pub(crate) type Locate<'a> = &'a dyn Fn(Range<usize>) -> Origin;

pub(crate) fn table(table: &DeTable<'_>, locate: Locate<'_>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            // The key's line: a value may begin on a later one.
            let value = Value::new(data(value.get_ref(), locate), locate(key.span()));
            (key.get_ref().to_string(), value)
        })
        .collect()
}

/// The items of an array in one text, such as that of a variable.
pub(crate) fn list(text: &str, origin: &Origin) -> Result<Vec<Value>, Refusal> {
    let value = DeValue::parse(text.trim())
        .map_err(|error| Refusal::load(format!("is not a TOML array: {}", one_line(error.message()))))?;
    match data(value.get_ref(), &|_| origin.clone()) {
        Data::List(items) => Ok(items),
        other => Err(Refusal::wrong_type(&other, "a list")),
    }
}

fn data(value: &DeValue<'_>, locate: Locate<'_>) -> Data {
    match value {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Data::Float(number.as_str().into()), Data::Integer),
        DeValue::Float(number) => Data::Float(number.as_str().into()),
        DeValue::Boolean(value) => Data::Bool(*value),
        DeValue::Datetime(date) => Data::Date(date.to_string()),
        DeValue::Array(items) => Data::List(
            items
                .iter()
                .map(|item| Value::new(data(item.get_ref(), locate), locate(item.span())))
                .collect(),
        ),
        DeValue::Table(inner) => Data::Table(table(inner, locate)),
    }
}
