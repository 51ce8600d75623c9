//! Rows under headings: aligned, coloured and fitted to the width on a terminal; elsewhere tab-separated and whole.

use std::time::Duration;

use super::column::{Column, Kind};
use super::style::Style;
use super::terminal::{self, Terminal};
use super::{stream, words};
use crate::clock::{Clock, SystemClock, Timestamp, days};
use crate::error::Result;
use crate::model::text::printable;
use crate::model::times::{relative, relative_short};

/// Between two columns.
const GAP: usize = 2;
/// Below this a sentence is a column of single words.
const SENTENCE: usize = 24;
/// A certificate that expires within this time is worth a look.
const SOON: Duration = days(7);

#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// How much of a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `2026-12-06T14:03:00Z (in 6 days)`
    Whole,
    /// `2026-12-06 (in 6 days)`
    Day,
    /// `in 6d`
    Short,
}

/// A text that is ready to be written, and how it looks.
#[derive(Debug, Clone)]
struct Cell {
    text: String,
    style: Style,
}

impl Table {
    pub fn new(columns: &[Column]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn print(&self) -> Result<()> {
        stream::write(&self.render(terminal::stdout(), SystemClock.now()))
    }

    fn render(&self, to: Terminal, now: Timestamp) -> String {
        let Some(width) = to.columns else { return self.separated(to.color, now) };
        for form in [Form::Whole, Form::Day, Form::Short] {
            let cells = self.cells(form, now);
            let widths = self.natural(&cells);
            if total(&widths) <= width {
                return self.lines(&cells, &widths, to.color);
            }
            if form == Form::Short
                && let Some(widths) = self.shrunk(widths, &cells, width)
            {
                return self.lines(&cells, &widths, to.color);
            }
            // a table of members has room for whole times: its values wrap
            if self.columns.contains(&Column::Member)
                && let Some(widths) = self.shrunk(self.natural(&cells), &cells, width)
            {
                return self.lines(&cells, &widths, to.color);
            }
        }
        self.records(width, to.color, now)
    }

    /// For programs: one line a row, nothing left out, times as JSON has them.
    fn separated(&self, color: bool, now: Timestamp) -> String {
        let headings: Vec<_> = self.columns.iter().map(|c| Style::Heading.paint(c.heading(), color)).collect();
        let mut text = format!("{}\n", headings.join("\t"));
        for row in &self.rows {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                let style = self.style(at, row, now);
                style.paint(&printable(cell), color)
            });
            text.push_str(cells.collect::<Vec<_>>().join("\t").trim_end());
            text.push('\n');
        }
        text
    }

    fn cells(&self, form: Form, now: Timestamp) -> Vec<Vec<Cell>> {
        let of_row = |row: &Vec<String>| {
            let cell = |(at, text): (usize, &String)| {
                // a name with a line break or a tab in it makes no second row and no further column
                let text = printable(text).into_owned();
                let is_time = matches!(self.columns[at].kind(), Kind::Time | Kind::Expiry) || self.is_value(at);
                let time = if is_time { Timestamp::parse_rfc3339(&text) } else { None };
                let text = time.map_or(text, |time| shown_time(time, form, now));
                Cell { text, style: self.style(at, row, now) }
            };
            row.iter().enumerate().map(cell).collect()
        };
        self.rows.iter().map(of_row).collect()
    }

    fn is_value(&self, at: usize) -> bool {
        self.columns[at] == Column::Value && self.columns.contains(&Column::Member)
    }

    fn style(&self, at: usize, row: &[String], now: Timestamp) -> Style {
        let text = row[at].as_str();
        let expiry = |text: &str| match Timestamp::parse_rfc3339(text) {
            Some(time) if time <= now => Style::Over,
            Some(time) if time.since(now) < SOON => Style::Caution,
            _ => Style::Plain,
        };
        if self.is_value(at) {
            return match row[0].as_str() {
                "status" | "state" | "verdict" | "outcome" => Style::of_state(text),
                "not_after" | "expires_at" => expiry(text),
                _ => Style::Plain,
            };
        }
        match self.columns[at].kind() {
            Kind::State => Style::of_state(text),
            Kind::Expiry => expiry(text),
            _ => Style::Plain,
        }
    }

    /// The widest text of each column.
    fn natural(&self, cells: &[Vec<Cell>]) -> Vec<usize> {
        let widest = |(at, column): (usize, &Column)| {
            let cells = cells.iter().map(|row| words::width(&row[at].text)).max().unwrap_or(0);
            cells.max(words::width(column.heading()))
        };
        self.columns.iter().enumerate().map(widest).collect()
    }

    /// Widths that fit, taken from the least important columns first. None when the rows have to be written otherwise.
    fn shrunk(&self, mut widths: Vec<usize>, cells: &[Vec<Cell>], width: usize) -> Option<Vec<usize>> {
        const ORDER: &[Kind] = &[
            Kind::Reference,
            Kind::Sentence,
            Kind::Text,
            Kind::Word,
            Kind::State,
            Kind::Time,
            Kind::Expiry,
            Kind::Handle,
        ];
        for kind in ORDER {
            for (at, column) in self.columns.iter().enumerate().rev().filter(|(_, c)| c.kind() == *kind) {
                let excess = total(&widths).saturating_sub(width);
                let least = least(*column, cells.iter().map(|row| row[at].text.as_str())).min(widths[at]);
                widths[at] -= excess.min(widths[at] - least);
            }
        }
        (total(&widths) <= width).then_some(widths)
    }

    fn lines(&self, cells: &[Vec<Cell>], widths: &[usize], color: bool) -> String {
        let heading = |column: &Column| Cell { text: column.heading().to_owned(), style: Style::Heading };
        let headings: Vec<Cell> = self.columns.iter().map(heading).collect();
        let mut text = String::new();
        let rows = [(&headings, true)].into_iter().chain(cells.iter().map(|row| (row, false)));
        for (row, is_heading) in rows {
            let pieces = row.iter().zip(&self.columns).zip(widths).map(|((cell, column), width)| {
                match (is_heading, column.kind()) {
                    (true, _) | (_, Kind::Sentence) => words::wrapped(&cell.text, *width),
                    (_, Kind::Reference) => vec![words::cut_middle(&cell.text, *width)],
                    _ => vec![words::cut(&cell.text, *width)],
                }
            });
            let pieces: Vec<Vec<String>> = pieces.collect();
            for line in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
                push_line(
                    &mut text,
                    row.iter().zip(&pieces).zip(widths).map(|((cell, lines), width)| {
                        (lines.get(line).map_or("", String::as_str), cell.style, *width)
                    }),
                    color,
                );
            }
        }
        text
    }

    /// For a terminal that is too narrow for the columns: a block a row, a line a cell, nothing left out.
    fn records(&self, width: usize, color: bool, now: Timestamp) -> String {
        let side = self.columns.iter().map(|c| words::width(c.heading())).max().unwrap_or(0);
        let rest = width.saturating_sub(side + GAP).max(8);
        let mut blocks = Vec::new();
        for row in self.cells(Form::Whole, now) {
            let mut text = String::new();
            for (cell, column) in row.iter().zip(&self.columns) {
                for (line, piece) in words::wrapped(&cell.text, rest).iter().enumerate() {
                    let heading = if line == 0 { column.heading() } else { "" };
                    push_line(
                        &mut text,
                        [(heading, Style::Heading, side), (piece, cell.style, rest)].into_iter(),
                        color,
                    );
                }
            }
            blocks.push(text);
        }
        blocks.join("\n")
    }
}

fn shown_time(at: Timestamp, form: Form, now: Timestamp) -> String {
    match form {
        Form::Whole => format!("{} ({})", at.truncated(), relative(at, now)),
        Form::Day => format!("{} ({})", at.to_string().get(..10).unwrap_or_default(), relative(at, now)),
        Form::Short => relative_short(at, now),
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// How narrow a column may become. A heading breaks between its words.
fn least<'a>(column: Column, cells: impl Iterator<Item = &'a str>) -> usize {
    let heading = column.heading().split(' ').map(words::width).max().unwrap_or(0);
    let widest = cells.map(words::width).max().unwrap_or(0);
    let cells = match column.kind() {
        Kind::Handle | Kind::Word | Kind::Time | Kind::Expiry => widest,
        Kind::State => widest.min(12),
        Kind::Reference => widest.min(9),
        Kind::Text => widest.min(12),
        Kind::Sentence => widest.min(SENTENCE),
    };
    cells.max(heading)
}

/// A line of cells without blanks behind the last one.
fn push_line<'a>(text: &mut String, cells: impl Iterator<Item = (&'a str, Style, usize)>, color: bool) {
    let mut blanks = 0;
    for (cell, style, width) in cells {
        if !cell.is_empty() {
            text.push_str(&" ".repeat(blanks));
            text.push_str(&style.paint(cell, color));
            blanks = 0;
        }
        blanks += width.saturating_sub(words::width(cell)) + GAP;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Terminal = Terminal { columns: None, color: false };
    const NOW: Timestamp = Timestamp::from_secs(1_793_491_200);

    fn on(columns: usize) -> Terminal {
        Terminal { columns: Some(columns), color: false }
    }

    fn certificates() -> Table {
        let mut table = Table::new(&[Column::Names, Column::Status, Column::Expires, Column::Serial]);
        let serial = "0123456789abcdef0123456789abcdef";
        table.row(vec!["web.lab.example".into(), "valid".into(), "2026-11-07T00:00:00Z".into(), serial.into()]);
        table.row(vec!["db.lab.example".into(), "revoked".into(), "2026-10-30T00:00:00Z".into(), "-".into()]);
        table
    }

    #[test]
    fn a_pipe_gets_whole_cells_between_tabs_and_exact_times() {
        let text = certificates().render(PIPE, NOW);
        assert_eq!(
            text,
            "NAMES\tSTATUS\tEXPIRES\tSERIAL\n\
             web.lab.example\tvalid\t2026-11-07T00:00:00Z\t0123456789abcdef0123456789abcdef\n\
             db.lab.example\trevoked\t2026-10-30T00:00:00Z\t-\n"
        );
    }

    #[test]
    fn a_wide_terminal_gets_relative_times_beside_exact_ones() {
        let text = certificates().render(on(120), NOW);
        assert!(
            text.contains("valid    2026-11-07T00:00:00Z (in 6 days)   0123456789abcdef0123456789abcdef\n"),
            "{text}"
        );
        assert!(text.contains("revoked  2026-10-30T00:00:00Z (2 days ago)  -\n"), "{text}");
    }

    #[test]
    fn lines_fit_every_width_and_have_no_blanks_behind_them() {
        for width in [20, 40, 60, 80, 100] {
            let text = certificates().render(on(width), NOW);
            for line in text.lines() {
                assert!(words::width(line) <= width && line.trim_end() == line, "{width}: {line:?}");
            }
        }
        let narrow = certificates().render(on(60), NOW);
        assert!(narrow.contains("in 6d") && narrow.contains('…'), "{narrow}");
        // below that nothing is shortened, and each cell has a line
        let records = certificates().render(on(30), NOW);
        let whole: String = records.split_whitespace().collect();
        assert!(whole.contains("SERIAL0123456789abcdef0123456789abcdef"), "{records}");
    }

    #[test]
    fn a_handle_is_never_shortened() {
        let mut table = Table::new(&[Column::Id, Column::Name, Column::Detail]);
        let detail = "a sentence that is much too long for the line and is wrapped between its words";
        table.row(vec!["tok_01KB45CZRMS1RG67EMDAZD52BD".into(), "a".repeat(60), detail.into()]);
        let text = table.render(on(80), NOW);
        assert!(text.contains("tok_01KB45CZRMS1RG67EMDAZD52BD  aaa"), "{text}");
        assert!(!text.contains("words…") && text.lines().count() > 2, "{text}");
    }

    #[test]
    fn a_cell_cannot_steer_a_terminal_or_make_a_row() {
        let mut table = Table::new(&[Column::Name, Column::Status]);
        table.row(vec!["a\u{1b}[2J\u{202e}b\nx\ty".into(), "valid".into()]);
        assert_eq!(table.render(PIPE, NOW), "NAME\tSTATUS\na\\u001b[2J\\u202eb\\u000ax\\u0009y\tvalid\n");
        let text = table.render(Terminal { columns: Some(80), color: true }, NOW);
        assert!(text.contains("a\\u001b[2J\\u202eb\\u000ax\\u0009y  \u{1b}[32mvalid\u{1b}[0m\n"), "{text:?}");
    }

    #[test]
    fn members_tell_times_and_states() {
        let mut table = Table::new(&[Column::Member, Column::Value]);
        table.row(vec!["not_after".into(), "2026-11-07T00:00:00Z".into()]);
        table.row(vec!["status".into(), "revoked".into()]);
        let text = table.render(Terminal { columns: Some(80), color: true }, NOW);
        assert!(text.contains("2026-11-07T00:00:00Z (in 6 days)"), "{text:?}");
        assert!(text.contains("status     \u{1b}[31mrevoked\u{1b}[0m"), "{text:?}");
    }
}
