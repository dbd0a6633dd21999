//! `--reveal`: names in the clear, from the control daemon, which writes down that they were shown before
//! it tells them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Shown;
use crate::act;
use crate::args::{Noun, ShowArgs};
use crate::exit::Failure;
use crate::table::Table;

/// Only some nouns have names.
pub(super) fn check(args: &ShowArgs) -> Result<(), Failure> {
    match args.noun {
        Noun::Room | Noun::Session => Ok(()),
        _ if !args.reveal => Ok(()),
        noun => {
            let noun = noun.name();
            let text =
                format!("show {noun} has no --reveal; show room, show session, why and trail have");
            Err(Failure::usage(text))
        }
    }
}

/// Asks for the names of what `args` shows; `None` when they are not asked for.
pub(super) fn names(dirs: &[PathBuf], args: &ShowArgs) -> Result<Option<Value>, Failure> {
    if !args.reveal {
        return Ok(None);
    }
    let id = args.id.as_deref();
    let request = match args.noun {
        Noun::Room => json!({ "act": "reveal.room", "room": id.map(str::parse::<u64>).transpose()
            .map_err(|_| Failure::usage(format!("{id:?} is no room's number")))? }),
        _ => json!({ "act": "reveal.session", "session": id }),
    };
    act::ask(dirs, &request).map(Some)
}

/// Puts them in the place of masks. What has come since they were asked for stays masked.
pub(super) fn apply(shown: &mut Shown, noun: Noun, names: &Value) {
    for table in &mut shown.tables {
        match noun {
            Noun::Session => {
                let name =
                    |row: &Value| names["sessions"][row["session"].as_str()?].as_object().cloned();
                put(table, "user", &["user", "room_name", "room_type"], |row| {
                    let name = name(row)?;
                    Some(vec![
                        name["user"].clone(),
                        name["room"].clone(),
                        name["room_type"].clone(),
                    ])
                });
            }
            _ => put(table, "label", &["name", "room_type"], |row| {
                let name = &names["rooms"][row["room"].to_string()];
                name.is_object().then(|| vec![name["room"].clone(), name["room_type"].clone()])
            }),
        }
    }
    let rows: Vec<Value> = shown.tables.iter().flat_map(|it| it.objects().to_vec()).collect();
    let key = if noun == Noun::Session { "sessions" } else { "rooms" };
    shown.json.insert(key.to_owned(), rows.into());
}

/// The first of `values` takes a cell, all become members of the row's object.
fn put(
    table: &mut Table,
    column: &str,
    keys: &[&str],
    values: impl Fn(&Value) -> Option<Vec<Value>>,
) {
    table.rewrite(column, |object| {
        let values = values(object);
        for (at, key) in keys.iter().enumerate() {
            object[*key] = values.as_ref().map_or(Value::Null, |values| values[at].clone());
        }
        let name = values?.first()?.as_str().map(crate::listing::shown)?;
        Some(name)
    });
}
