//! What may be named where: one function a rule, from sources to findings (`path:line: sentence`).

use super::read::{Source, Token, is_path, without_attributes};

const SURFACES: &[&str] = &["http", "acme", "api", "dashboard", "status", "vault", "tsa", "keyless", "est", "server"];

pub fn pure_rooms(sources: &[Source]) -> Vec<String> {
    let pure = |s: &&Source| s.in_src() && ["pki", "wire", "model"].contains(&s.room());
    let banned = ["tokio", "sqlx", "axum", "reqwest"];
    let mut found = Vec::new();
    for source in sources.iter().filter(pure) {
        for (line, name) in source.product().iter().filter_map(Token::word).filter(|(_, w)| banned.contains(w)) {
            found.push(source.at(line, &format!("{} is bytes and records, without {name}", source.room())));
        }
    }
    found
}

/// A refusal is a sentence for people; the rule's name and what it allows are members of their own.
pub fn templates(sources: &[Source]) -> Vec<String> {
    let dotted = |word: &str| word.contains('.') || word == "{name}" || word == "{rule}";
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.in_src()) {
        for (line, text) in source.all.iter().filter_map(Token::text) {
            let words: Vec<&str> = text.split_whitespace().collect();
            let rule_refuses = words.windows(2).any(|pair| dotted(pair[0]) && pair[1] == "refuses");
            if rule_refuses || words.windows(2).any(|pair| pair == ["allowed", "is"]) {
                found.push(source.at(line, "a refusal says what is wrong in a sentence and names no rule in it"));
            }
        }
    }
    found
}

/// A file that no `mod` names is not compiled: its tests would not run, and nobody would miss them.
pub fn outside(sources: &[Source]) -> Vec<String> {
    let root = |path: &str| ["src/lib.rs", "src/main.rs", "tests/it/main.rs"].contains(&path);
    let ours = |path: &str| path.starts_with("src/") || path.starts_with("tests/it/");
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| ours(&s.path) && !root(&s.path)) {
        let own = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (folder, name) = own.rsplit_once('/').unwrap_or(("", own));
        let above = [
            format!("{folder}/mod.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}/main.rs"),
            format!("{folder}.rs"),
        ];
        let named = |s: &Source| {
            let words: Vec<&str> = s.all.iter().filter_map(Token::word).map(|(_, word)| word).collect();
            words.windows(2).any(|pair| pair == ["mod", name])
        };
        if !sources.iter().any(|s| above.contains(&s.path) && named(s)) {
            found.push(source.at(1, "no `mod` names this file, so it is not compiled"));
        }
    }
    found
}

pub fn engines(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.in_src() && !is_engine(&s.path)) {
        let tokens = source.product();
        for (at, token) in tokens.iter().enumerate() {
            let Some((line, word)) = token.word() else { continue };
            let in_store = source.room() == "store";
            let own = in_store && (["Postgres", "Sqlite"].contains(&word) || engine_type(word));
            let variant =
                ["Db", "RawTx"].contains(&word) && (is_path(tokens, at, "Pg") || is_path(tokens, at, "Lite"));
            if word == "sqlx" && !in_store {
                found.push(source.at(line, "sqlx is named under store/ alone"));
            } else if own || variant {
                found.push(source.at(line, "only store/engine.rs knows that there are two engines"));
            }
        }
    }
    found
}

fn is_engine(path: &str) -> bool {
    path == "src/store/engine.rs" || path.starts_with("src/store/engine/")
}

/// `PgPool`, `SqliteRow`, …
pub fn engine_type(word: &str) -> bool {
    ["Pg", "Sqlite"].iter().any(|prefix| {
        word.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

pub fn sql_places(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.in_src() && s.room() != "store") {
        for (line, _) in source.product().iter().filter_map(Token::text).filter(|(_, text)| is_sql(text)) {
            found.push(source.at(line, "SQL stands under src/store alone"));
        }
    }
    found
}

/// A statement, or a piece that can only belong to one.
pub fn is_sql(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let has = |a: &str, b: &str| words.windows(2).any(|w| w[0] == a && w[1] == b);
    let shouted = |w: &str| text.split_whitespace().any(|t| t == w);
    let begins = |w: &str| words.first().is_some_and(|f| f == w);
    has("insert", "into")
        || has("delete", "from")
        || (shouted("SELECT") && shouted("FROM"))
        || (begins("select") && (words.get(2).is_some_and(|w| w == "from") || words[1].contains(['*', '(', ','])))
        || words.windows(3).any(|w| w[0] == "update" && w[2] == "set")
        || ["table", "schema", "database"].iter().any(|n| has("create", n) && shouted("CREATE"))
        || begins("pragma")
}

pub fn made_queries(sources: &[Source]) -> Vec<String> {
    const MAKERS: &[&str] = &["format", "write", "writeln", "push_str", "format_args"];
    let mut found = Vec::new();
    // bulk.rs repeats the VALUES row of a constant and numbers its parameters on: no value reaches its text
    let makes = |s: &&Source| s.in_src() && s.room() == "store" && s.path != "src/store/bulk.rs";
    for source in sources.iter().filter(makes) {
        let tokens = source.product();
        let mut maker = None;
        for token in tokens {
            match token {
                Token::Word(line, w)
                    if ["AssertSqlSafe", "QueryBuilder", "leak", "raw_sql"].contains(&w.as_str()) =>
                {
                    found.push(source.at(*line, &format!("{w} lets made text reach a query: bind values instead")));
                }
                Token::Word(_, w) if MAKERS.contains(&w.as_str()) => maker = Some(()),
                Token::Sign(_, ';' | '}') => maker = None,
                Token::Text(line, text) if maker.is_some() && is_sql(text) => {
                    found.push(source.at(*line, "a statement is a constant, never made at run time"));
                }
                _ => {}
            }
        }
    }
    found
}

pub fn error_bodies(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.in_src() && SURFACES.contains(&s.room())) {
        // the OpenAPI document describes the bodies that problem.rs makes
        if ["src/http/problem.rs", "src/api/document.rs"].contains(&source.path.as_str()) {
            continue;
        }
        let tokens = without_attributes(source.product());
        for (at, token) in tokens.iter().enumerate() {
            let body = token.text().filter(|(_, text)| {
                text.contains("application/problem+json") || text.contains("urn:ietf:params:acme:error")
            });
            // the table and the layers of http/ speak of statuses; a surface would answer with one
            let status = token
                .word()
                .filter(|_| source.room() != "http" && !is_compared(&tokens, at))
                .filter(|(_, w)| *w == "StatusCode" && ERROR_STATUS.iter().any(|name| is_path(&tokens, at, name)));
            if let Some((line, _)) = body.or(status) {
                found.push(source.at(line, "only http/problem.rs makes an error's body: return an Error"));
            }
        }
    }
    found
}

/// `== X` or `!= X`: read, not answered.
fn is_compared(tokens: &[Token], at: usize) -> bool {
    at >= 2 && tokens[at - 1].is('=') && (tokens[at - 2].is('=') || tokens[at - 2].is('!'))
}

const ERROR_STATUS: &[&str] = &[
    "BAD_REQUEST",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "NOT_ACCEPTABLE",
    "REQUEST_TIMEOUT",
    "CONFLICT",
    "GONE",
    "PRECONDITION_FAILED",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "UNPROCESSABLE_ENTITY",
    "TOO_MANY_REQUESTS",
    "INTERNAL_SERVER_ERROR",
    "BAD_GATEWAY",
    "GATEWAY_TIMEOUT",
];

pub fn time_and_chance(sources: &[Source]) -> Vec<String> {
    const CALLS: &[(&str, &str)] = &[
        ("SystemTime", "now"),
        ("Instant", "now"),
        ("OffsetDateTime", "now_utc"),
        ("OffsetDateTime", "now_local"),
        ("UtcDateTime", "now"),
        ("Ulid", "new"),
        ("Ulid", "generate"),
        ("rand", "fill"),
    ];
    const NAMES: &[&str] = &["SystemRandom", "getrandom", "thread_rng", "OsRng", "RandomState"];
    let mut found = Vec::new();
    let own = ["src/clock.rs", "src/entropy.rs"];
    for source in sources.iter().filter(|s| s.in_src() && !own.contains(&s.path.as_str())) {
        let tokens = source.product();
        for (at, token) in tokens.iter().enumerate() {
            let Some((line, word)) = token.word() else { continue };
            let call = CALLS.iter().any(|(of, name)| *of == word && is_path(tokens, at, name));
            // aws-lc-rs takes a generator where it makes keys and signs; that happens in keys/ alone
            let name = NAMES.contains(&word) && !(word == "SystemRandom" && source.room() == "keys");
            if call || name {
                found.push(source.at(line, "time comes from Clock, chance from Entropy"));
            }
        }
    }
    found
}

pub fn unfinished(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for window in source.all.windows(3) {
            let [a, b, c] = window else { continue };
            let Some((line, word)) = b.word().filter(|_| a.is('[')) else { continue };
            match word {
                "ignore" => found.push(source.at(line, "a test that does not run is no test")),
                // a macro of the tests cannot know whether its lint will fire, so there `allow` with a reason stays
                "allow" if c.is('(') && !source.in_src() && source.reasons.contains(&line) => {}
                "allow" if c.is('(') => found.push(source.at(line, "an allowed lint is #[expect(…, reason = …)]")),
                "expect" if c.is('(') && !source.reasons.contains(&line) => {
                    found.push(source.at(line, "an expected lint states its reason"));
                }
                _ => {}
            }
        }
        if source.in_src() {
            found.extend(panics(source));
        }
    }
    found
}

pub fn panics(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for window in source.product().windows(3) {
        let [a, b, c] = window else { continue };
        let unfinished = a.word().filter(|(_, w)| b.is('!') && ["todo", "unimplemented", "dbg"].contains(w));
        if let Some((line, word)) = unfinished {
            found.push(source.at(line, &format!("{word}! is not shipped")));
        }
        if let Some((line, "unwrap")) = b.word().filter(|_| a.is('.') && c.is('(')) {
            found.push(source.at(line, "no unwrap outside tests"));
        }
    }
    found
}

/// The guard of validation that lets everything through is for tests.
pub fn open_guards(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.in_src()) {
        for window in source.product().windows(4) {
            let [a, b, c, d] = window else { continue };
            let (Some((line, "Guard")), Some((_, "open"))) = (a.word(), d.word()) else { continue };
            if b.is(':') && c.is(':') {
                found.push(source.at(line, "only tests open the guard of validation"));
            }
        }
    }
    found
}

pub fn first_lines(sources: &[Source]) -> Vec<String> {
    let says = |line: &str, mark: &str| line.strip_prefix(mark).is_some_and(|rest| rest.trim().len() > 2);
    let mut found = Vec::new();
    for source in sources {
        let first = source.lines.first().map(String::as_str).unwrap_or_default();
        if !(says(first, "//!") || (!source.in_src() && says(first, "//"))) {
            found.push(source.at(1, "begin with //! and what lives here"));
        }
    }
    found
}

pub fn sleeps(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("tests/it/")) {
        for (line, word) in source.all.iter().filter_map(Token::word) {
            if !["sleep", "sleep_until", "sleep_ms", "park_timeout"].contains(&word) {
                continue;
            }
            let reason = [line, line - 1]
                .iter()
                .any(|l| source.lines.get(l.wrapping_sub(1)).is_some_and(|t| t.contains("// ")));
            if !source.path.starts_with("tests/it/support/") {
                found.push(source.at(line, "tests move the clock; polling lives in support/"));
            } else if !reason && !source.uses_line(line) {
                found.push(source.at(line, "a sleep in support/ says why beside it"));
            }
        }
    }
    found
}

/// Same names on both engines, numbered from 0001 without a gap.
pub fn migration_faults(postgres: &[String], sqlite: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    if postgres != sqlite {
        found.push(format!("postgres has {postgres:?}, sqlite has {sqlite:?}"));
    }
    // numbers may have gaps: a step that is dropped before a release leaves one
    let mut last = 0;
    for name in postgres {
        let number =
            name.get(..4).filter(|_| name.get(4..5) == Some("_")).and_then(|digits| digits.parse::<u32>().ok());
        match number {
            Some(number) if number > last && name.ends_with(".sql") => last = number,
            _ => found.push(format!("{name} is no migration after {last:04}")),
        }
    }
    found
}

/// Every change of the schema raises the version: its second figure is the number of the newest migration.
pub fn version_faults(manifest: &str, lock: &str, migrations: &[String]) -> Vec<String> {
    let after = |text: &str, mark: &str| -> Option<String> {
        let rest = text.split_once(mark)?.1;
        Some(rest.split_once("version = \"")?.1.split_once('"')?.0.to_owned())
    };
    let version = after(manifest, "[package]").unwrap_or_default();
    let schema = migrations.iter().filter_map(|name| name.get(..4)?.parse::<u32>().ok()).max().unwrap_or(0);
    let mut found = Vec::new();
    if version.split('.').nth(1) != Some(&*schema.to_string()) {
        found.push(format!(
            "Cargo.toml has version {version} and the newest migration is {schema:04}: set 0.{schema}.0"
        ));
    }
    if after(lock, "name = \"chancery\"\n").as_deref() != Some(&*version) {
        found.push(format!(
            "Cargo.lock has another version of chancery than {version}: commit what cargo check writes"
        ));
    }
    found
}

/// Crates that Cargo calls otherwise than Rust does.
const NAMED_OTHERWISE: [(&str, &str); 2] = [("md-5", "md5"), ("rustls-webpki", "webpki")];

/// Dependencies of the manifest that no source names.
pub fn unused_dependencies(manifest: &str, sources: &[Source]) -> Vec<String> {
    let (mut found, mut section) = (Vec::new(), "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, _)) = line.split_once(" = ").filter(|_| section.ends_with("dependencies]")) else { continue };
        let usual = name.replace('-', "_");
        let called = NAMED_OTHERWISE.iter().find(|(cargo, _)| *cargo == name).map_or(&*usual, |(_, rust)| rust);
        if !sources.iter().any(|source| source.names_crate(called)) {
            found.push(format!("Cargo.toml: no source names the dependency {name}; use it or take it out"));
        }
    }
    found
}
