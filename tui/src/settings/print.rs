//! The settings file as it is without one, with what each line means.

use std::fmt::Write;

use crate::grid::Column;
use crate::keymap::Keymap;
use crate::panes::{self, Table};
use crate::theme::{COLOURS, SCHEMES};

/// Longest line of a list of columns.
const LINE: usize = 100;

/// A column's word in the file: what has no name is a bar.
pub fn column_name(column: &Column) -> &'static str {
    if column.name.is_empty() { "bar" } else { column.name }
}

/// The file.
pub fn text() -> String {
    let mut text = String::from(
        "# The dashboard of Roomlane: keys, colours, columns. Every line has the value that holds without it.\n\
         # Looked for at --tui-config FILE, $XDG_CONFIG_HOME/roomlane/tui.toml, /etc/roomlane/tui.toml.\n\n\
         # Time between two looks at the node, 100ms to 60s; --interval goes before it.\n\
         interval = \"1s\"\n\
         # \"labels\" shows masked names, \"strict\" none. Strict in any of the files above holds.\n\
         mask = \"labels\"\n\n\
         # Keys of each act; a list, or one. A key that stands for two acts is refused.\n\
         [keys]\n",
    );
    let keys = Keymap::default();
    // A string takes whatever is written to it.
    for binding in keys.bindings() {
        let keys: Vec<String> = binding.keys.iter().map(|key| format!("\"{key}\"")).collect();
        let _ = writeln!(text, "# {}\n{} = [{}]", binding.what, binding.name, keys.join(", "));
    }
    let schemes = SCHEMES.map(|(name, _)| name).join(", ");
    let _ = writeln!(
        text,
        "\n# Colours: {schemes}. NO_COLOR and TERM=dumb have none, whatever stands here.\n[theme]\n\
         scheme = \"auto\"\n\
         # \"scheme\" is the scheme's own; else a name such as lightblue, a number 0 to 255, or #rrggbb. Where \
         the\n# terminal has sixteen colours only the first sixteen count."
    );
    for (name, what) in COLOURS {
        let _ = writeln!(text, "# {what}\n{name} = \"scheme\"");
    }
    text += "\n# Columns of each table that are shown; where there is no room the least important still go.\n\
             [columns]\n";
    for table in Table::ALL {
        let mut line = format!("{} = [", table.name());
        let columns = panes::columns(table);
        for (index, column) in columns.iter().enumerate() {
            let comma = if index + 1 < columns.len() { "," } else { "]" };
            let item = format!("\"{}\"{comma}", column_name(column));
            if line.len() + item.len() + 1 > LINE {
                text += &line;
                text += "\n";
                line = "   ".to_owned();
            }
            if !line.ends_with('[') {
                line.push(' ');
            }
            line += &item;
        }
        text += &line;
        text += "\n";
    }
    text
}
