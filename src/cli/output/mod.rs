//! What commands print: data on stdout, talk on stderr. Tables are fitted and coloured on a terminal and tab-separated
//! elsewhere; JSON is what REST answers, and YAML is the same document.

mod column;
mod document;
mod sheet;
mod stream;
mod style;
mod table;
mod terminal;
mod words;
mod yaml;

pub use column::Column;
pub use document::{Format, document, is_for_programs, members, text};
pub use sheet::Sheet;
pub use stream::{Log, data, say, say_all, say_in_json, says_json};
pub use table::Table;
pub use terminal::{ColorChoice, is_shown, set_up};
