//! Reads Rust just well enough: words, signs and literals with their lines, comments left out, and which of
//! them are product code and which belong to `#[cfg(test)]`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub enum Token {
    Word(usize, String),
    Text(usize, String),
    Sign(usize, char),
}

impl Token {
    pub fn word(&self) -> Option<(usize, &str)> {
        if let Token::Word(line, word) = self { Some((*line, word)) } else { None }
    }

    pub fn text(&self) -> Option<(usize, &str)> {
        if let Token::Text(line, text) = self { Some((*line, text)) } else { None }
    }

    pub fn is(&self, sign: char) -> bool {
        matches!(self, Token::Sign(_, s) if *s == sign)
    }

    pub fn line(&self) -> usize {
        match self {
            Token::Word(line, _) | Token::Text(line, _) | Token::Sign(line, _) => *line,
        }
    }
}

pub struct Source {
    pub path: String,
    pub lines: Vec<String>,
    pub all: Vec<Token>,
    /// Without `#[cfg(test)]` items; empty for a file that only tests use.
    product: Vec<Token>,
    /// Lines of `#[expect(…)]` and `#[allow(…)]` that hold a reason.
    pub reasons: BTreeSet<usize>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let all = tokens(text);
        let product =
            if path.ends_with("/tests.rs") || path.contains("/tests/") { Vec::new() } else { without_tests(&all) };
        let reasons = reasons(&all);
        Source { path: path.into(), lines: text.lines().map(Into::into).collect(), all, product, reasons }
    }

    pub fn in_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    pub fn product(&self) -> &[Token] {
        &self.product
    }

    /// `src/store/orders.rs` → `store`, `src/clock.rs` → `clock`.
    pub fn room(&self) -> &str {
        let inner = self.path.trim_start_matches("src/");
        inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
    }

    pub fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// A line that only imports the name.
    pub fn uses_line(&self, line: usize) -> bool {
        self.lines.get(line - 1).is_some_and(|l| l.trim_start().starts_with("use "))
    }

    /// `src/store/fixtures` for a `#[cfg(test)] mod fixtures;` in `src/store/mod.rs`.
    fn test_modules(&self) -> Vec<String> {
        let own = self.path.trim_end_matches(".rs");
        let folder = ["/mod", "/lib", "/main"].iter().find_map(|end| own.strip_suffix(end)).unwrap_or(own);
        let names = |tokens: &[Token]| -> BTreeSet<String> {
            let file_mod = |w: &&[Token]| w[0].word().is_some_and(|(_, m)| m == "mod") && w[2].is(';');
            tokens.windows(3).filter(file_mod).filter_map(|w| w[1].word()).map(|(_, n)| n.to_string()).collect()
        };
        names(&self.all).difference(&names(&self.product)).map(|name| format!("{folder}/{name}")).collect()
    }

    /// Does it name something of this crate, as `name::…` or by `use name`?
    pub fn names_crate(&self, name: &str) -> bool {
        let word = |at: usize| self.all.get(at).and_then(Token::word).map(|(_, word)| word);
        (0..self.all.len()).filter(|at| word(*at) == Some(name)).any(|at| {
            let is_inner = at >= 2 && is_double_colon(&self.all, at - 2);
            let is_imported = at >= 1 && word(at - 1) == Some("use");
            !is_inner && (is_imported || is_double_colon(&self.all, at + 1))
        })
    }

    /// How many modules deep the file's items are: `src/store/orders.rs` is 2, `src/store/mod.rs` is 1.
    fn depth(&self) -> usize {
        let inner = self.path.trim_start_matches("src/");
        match inner {
            "lib.rs" | "main.rs" => 0,
            _ => inner.split('/').count() - usize::from(inner.ends_with("/mod.rs")),
        }
    }

    /// Every room that product code reaches by `crate::`, `chancery::` or `super::` chains, with the line.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let tokens = self.product();
        let mut found = Vec::new();
        let mut braces = 0usize;
        let mut inline: Vec<usize> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                Token::Sign(_, '{') => braces += 1,
                Token::Sign(_, '}') => {
                    braces = braces.saturating_sub(1);
                    inline.retain(|opened| *opened <= braces);
                }
                Token::Word(_, w) if w == "mod" && tokens.get(at + 2).is_some_and(|t| t.is('{')) => {
                    inline.push(braces + 1);
                }
                Token::Word(_, w) if (w == "crate" || w == "chancery") && is_double_colon(tokens, at + 1) => {
                    found.extend(heads(&tokens[at + 3..]));
                }
                Token::Word(_, w) if w == "super" => {
                    let mut supers = 1;
                    while is_path(tokens, at, "super") {
                        supers += 1;
                        at += 3;
                    }
                    if supers >= self.depth() + inline.len() && is_double_colon(tokens, at + 1) {
                        found.extend(heads(&tokens[at + 3..]));
                    }
                }
                _ => {}
            }
            at += 1;
        }
        found
    }
}

/// The first names after `crate::`: one, or those of a `{…}` group; `*` for a glob.
fn heads(tokens: &[Token]) -> Vec<(usize, String)> {
    let name = |t: &Token| match t {
        Token::Word(line, w) if w != "self" => Some((*line, w.clone())),
        Token::Sign(line, '*') => Some((*line, "*".to_string())),
        _ => None,
    };
    let Some(first) = tokens.first() else { return Vec::new() };
    if !first.is('{') {
        return name(first).into_iter().collect();
    }
    let (mut depth, mut fresh, mut found) = (0usize, false, Vec::new());
    for token in tokens {
        match token {
            Token::Sign(_, '{') => {
                depth += 1;
                fresh = depth == 1;
            }
            Token::Sign(_, '}') if depth == 1 => break,
            Token::Sign(_, '}') => depth -= 1,
            Token::Sign(_, ',') => fresh = depth == 1,
            other if fresh => {
                found.extend(name(other));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

fn is_double_colon(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|t| t.is(':')) && tokens.get(at + 1).is_some_and(|t| t.is(':'))
}

/// `tokens[at]` is followed by `::name`.
pub fn is_path(tokens: &[Token], at: usize, name: &str) -> bool {
    is_double_colon(tokens, at + 1) && tokens.get(at + 3).and_then(Token::word).is_some_and(|(_, w)| w == name)
}

/// Index after the group that opens at `at` with `(`, `[` or `{`.
fn after_group(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0usize;
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token {
            Token::Sign(_, '(' | '[' | '{') => depth += 1,
            Token::Sign(_, ')' | ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    return at + offset + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// End of the attribute `#[…]` or `#![…]` that begins at `at`, if one does.
fn attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let open = at + 1 + usize::from(tokens.get(at + 1)?.is('!'));
    (tokens[at].is('#') && tokens.get(open)?.is('[')).then(|| after_group(tokens, open))
}

pub fn without_attributes(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        match attribute(tokens, at) {
            Some(end) => at = end,
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let Some(end) = attribute(tokens, at) else {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let names = |name: &str| tokens[at..end].iter().filter_map(Token::word).any(|(_, w)| w == name);
        if names("cfg") && names("test") && !names("not") {
            at = end;
            while let Some(next) = tokens.get(at).and_then(|_| attribute(tokens, at)) {
                at = next;
            }
            while at < tokens.len() && !tokens[at].is('{') && !tokens[at].is(';') {
                at = if tokens[at].is('(') || tokens[at].is('[') { after_group(tokens, at) } else { at + 1 };
            }
            at = if tokens.get(at).is_some_and(|t| t.is('{')) { after_group(tokens, at) } else { at + 1 };
        } else {
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
        }
    }
    kept
}

fn reasons(tokens: &[Token]) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for at in 0..tokens.len() {
        let Some(end) = attribute(tokens, at) else { continue };
        let words: Vec<&str> = tokens[at..end].iter().filter_map(Token::word).map(|(_, w)| w).collect();
        if ["expect", "allow"].contains(words.first().unwrap_or(&"")) && words.contains(&"reason") {
            lines.extend(tokens[at..end].iter().map(Token::line));
        }
    }
    lines
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let start = at;
        let begun = line;
        let c = chars[at];
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        if c == '/' && next == '/' {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if c == '/' && next == '*' {
            at = end_of_comment(&chars, at);
        } else if c == '"' {
            at = end_of_string(&chars, at);
            found.push(Token::Text(begun, chars[start + 1..at - 1].iter().collect()));
        } else if let Some((open, end)) = raw_string(&chars, at) {
            at = end;
            found.push(Token::Text(begun, chars[open..end].iter().collect()));
        } else if c == '\'' {
            at = end_of_quote(&chars, at);
        } else if c.is_alphanumeric() || c == '_' {
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            found.push(Token::Word(begun, chars[start..at].iter().collect()));
        } else {
            at += 1;
            if !c.is_whitespace() {
                found.push(Token::Sign(begun, c));
            }
        }
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`: where the content opens and the index after the literal.
fn raw_string(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let mut open = at + usize::from(matches!(chars[at], 'b' | 'c'));
    if chars.get(open) != Some(&'r') || at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') {
        return None;
    }
    open += 1;
    let hashes = chars[open..].iter().take_while(|c| **c == '#').count();
    open += hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let inner = chars[open + 1..].windows(close.len()).position(|w| w == close);
    Some((open + 1, inner.map_or(chars.len(), |n| open + 1 + n + close.len())))
}

/// A character literal, or a lifetime (skipped whole).
fn end_of_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => chars[at + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |n| at + 4 + n),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under src/ and tests/. A file that its parent names under `#[cfg(test)]` has no product code.
pub fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let relative = |file: &Path| file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    let mut all: Vec<Source> =
        files.iter().map(|file| Source::new(&relative(file), &fs::read_to_string(file).unwrap())).collect();
    let tests: BTreeSet<String> = all.iter().flat_map(Source::test_modules).collect();
    for source in all.iter_mut().filter(|s| tests.contains(s.path.trim_end_matches(".rs").trim_end_matches("/mod"))) {
        source.product.clear();
    }
    all
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}
