//! The text of a statement whose one `VALUES ($1, …)` row is repeated for many rows: SQLite has no UNNEST.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// `sql` with its VALUES row `rows` times, its parameters numbered on. `None` when there is no such row. Texts are
/// kept for the life of the process: as many as there are bulk statements and sizes.
pub fn repeated(sql: &'static str, rows: usize) -> Option<&'static str> {
    static TEXTS: LazyLock<Mutex<HashMap<(&'static str, usize), &'static str>>> = LazyLock::new(Mutex::default);
    if rows == 1 {
        return Some(sql);
    }
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = texts.get(&(sql, rows)) {
        return Some(text);
    }
    let text: &'static str = Box::leak(build(sql, rows)?.into_boxed_str());
    texts.insert((sql, rows), text);
    Some(text)
}

fn build(sql: &str, rows: usize) -> Option<String> {
    let start = sql.find("VALUES (")? + "VALUES ".len();
    let end = start + sql.get(start..)?.find(')')? + 1;
    let (head, row, tail) = (sql.get(..start)?, sql.get(start..end)?, sql.get(end..)?);
    let width = row.matches('$').count();
    let all: Vec<String> = (0..rows).map(|n| renumbered(row, n * width)).collect();
    Some(format!("{head}{}{tail}", all.join(", ")))
}

/// `$3` becomes `$(3 + by)`.
fn renumbered(row: &str, by: usize) -> String {
    let mut pieces = row.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = piece.split_at(digits);
        text.push_str(&format!("${}{rest}", number.parse::<usize>().unwrap_or_default() + by));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::repeated;

    #[test]
    fn a_row_is_repeated_with_its_literals_and_what_follows() {
        let sql = "INSERT INTO t (a, b, c) VALUES ($1, 'x', $2) ON CONFLICT DO NOTHING";
        assert_eq!(repeated(sql, 1), Some(sql));
        assert_eq!(
            repeated(sql, 3),
            Some("INSERT INTO t (a, b, c) VALUES ($1, 'x', $2), ($3, 'x', $4), ($5, 'x', $6) ON CONFLICT DO NOTHING")
        );
    }

    #[test]
    fn a_statement_without_a_row_is_not_repeated() {
        assert_eq!(repeated("UPDATE t SET a = $1", 2), None);
    }
}
