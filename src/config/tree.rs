//! Paths in tables.

use crate::settings::{Data, Table, Value};

/// The value under a path.
pub(super) fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let (name, rest) = split(path);
    let value = table.get(name).filter(|value| value.data != Data::Null)?;
    match (rest, &value.data) {
        (None, _) => Some(value),
        (Some(rest), Data::Table(inner)) => find(inner, rest),
        _ => None,
    }
}

/// Takes out the value under a path.
pub(super) fn remove(table: &mut Table, path: &str) -> Option<Value> {
    match split(path) {
        (name, None) => table.remove(name).filter(|value| value.data != Data::Null),
        (name, Some(rest)) => match &mut table.get_mut(name)?.data {
            Data::Table(inner) => remove(inner, rest),
            _ => None,
        },
    }
}

/// Sets what is not set; whether it did.
pub(super) fn set_if_absent(table: &mut Table, path: &str, value: Value) -> bool {
    let (name, Some(rest)) = split(path) else {
        let is_absent = find(table, path).is_none();
        if is_absent {
            table.insert(path.into(), value);
        }
        return is_absent;
    };
    let section = table
        .entry(name.into())
        .or_insert_with(|| Value::new(Data::Null, value.origin.clone()));
    if section.data == Data::Null {
        section.data = Data::Table(Table::new());
    }
    match &mut section.data {
        Data::Table(inner) => set_if_absent(inner, rest, value),
        _ => false,
    }
}

/// `over` laid over `under`, section by section.
pub(super) fn merge(mut under: Table, over: Table) -> Table {
    for (key, mut value) in over {
        if let Data::Table(over) = &mut value.data
            && let Some(Value {
                data: Data::Table(under),
                ..
            }) = under.get_mut(&key)
        {
            *over = merge(std::mem::take(under), std::mem::take(over));
        }
        under.insert(key, value);
    }
    under
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)))
}
