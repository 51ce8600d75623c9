//! Texts in columns of a terminal: how wide one is, and how it is shortened or wrapped.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The beginning, with … behind it where something is left out.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    format!("{}…", beginning(text, columns.saturating_sub(1)))
}

/// Beginning and end of an id or serial, by which people tell two apart.
pub fn cut_middle(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let rest = columns.saturating_sub(1);
    let behind: String = text.chars().rev().collect();
    let behind: String = beginning(&behind, rest / 2).chars().rev().collect();
    format!("{}…{behind}", beginning(text, rest - rest / 2))
}

/// Lines of at most so many columns, broken between words and behind commas, and within a word that is longer.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for mut word in text.split_inclusive([' ', ',']) {
        if width(&line) + width(word.trim_end()) > columns && !line.is_empty() {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        while width(word.trim_end()) > columns {
            // a character that is wider than the terminal stands alone
            let first = word.chars().next().map_or(0, char::len_utf8);
            let at = beginning(word, columns).len().max(first);
            let (piece, rest) = word.split_at(at);
            lines.push(piece.to_owned());
            word = rest;
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

fn beginning(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > columns
    });
    end.map_or(text, |(at, _)| text.split_at(at).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_what_a_terminal_shows() {
        assert_eq!((cut("web.example", 11).as_str(), cut("web.example", 5).as_str()), ("web.example", "web.…"));
        assert_eq!(cut("東京都庁", 5), "東京…");
        assert_eq!(cut_middle("0123456789abcdef", 9), "0123…cdef");
    }

    #[test]
    fn sentences_break_between_words_and_long_words_within() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a.example,b.example", 10), ["a.example,", "b.example"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!((wrapped("", 5), wrapped("東", 1)), (vec![String::new()], vec!["東".to_owned()]));
    }
}
