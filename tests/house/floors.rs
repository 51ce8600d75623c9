//! The floor table of the house, and the rule that every import goes downstairs.

use super::read::Source;

/// Near side, ground floor first. A room may use every lower floor; rooms on one floor do not know each other.
/// The ground floor of the drawing is three steps here: errors name nothing, entropy fails with errors, model has both.
const FLOORS: &[&[&str]] = &[
    &["error", "clock", "planted"],
    &["entropy"],
    &["model", "telemetry"],
    &["pki", "wire"],
    &["store", "keys"],
    &["authority", "access", "validation"],
    &["registration"],
    &["app"],
    &["http", "jobs"],
    &["acme", "api", "dashboard", "status", "vault", "tsa", "keyless", "est"],
    &["server"],
    &["cli"],
    &["main"],
];

/// The far side holds no key of the CA: it speaks to a server from outside (rule 7).
const FAR: &[(&str, &[&str])] = &[
    ("client", &["error", "clock", "entropy", "model", "telemetry", "wire"]),
    ("agent", &["error", "clock", "entropy", "model", "telemetry", "wire", "client"]),
    ("kube", &["error", "clock", "entropy", "model", "telemetry", "wire", "client"]),
];

/// Allowed by the floors and forbidden all the same (rules 3 and 4).
const NEVER: &[(&str, &str, &str)] = &[
    ("acme", "store", "surfaces ask registration, authority and access"),
    ("api", "store", "surfaces ask registration, authority and access"),
    ("dashboard", "store", "surfaces ask registration, authority and access"),
    ("status", "store", "surfaces ask registration, authority and access"),
    ("authority", "keys", "authority knows the traits Signer and KeyStore of pki"),
];

pub fn floors(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.in_src()) {
        let from = source.room();
        if from != "lib" && !is_room(from) {
            found.push(source.at(1, &format!("{from} is no room of the house: add it to a floor first")));
        }
        for (line, to) in source.imports() {
            if let Some(why) = forbidden(from, &to) {
                found.push(source.at(line, &format!("{from} may not use {to}: {why}")));
            }
        }
    }
    found
}

fn forbidden(from: &str, to: &str) -> Option<&'static str> {
    if from == to || from == "lib" {
        return None;
    }
    if !is_room(to) || to == "main" {
        return Some("that is no room of the house");
    }
    if let Some((_, _, why)) = NEVER.iter().find(|(f, t, _)| (*f, *t) == (from, to)) {
        return Some(why);
    }
    if let Some((_, allowed)) = FAR.iter().find(|(room, _)| *room == from) {
        return (!allowed.contains(&to)).then_some("the far side knows only client, wire and model");
    }
    if FAR.iter().any(|(room, _)| *room == to) {
        return (from != "cli" && from != "main").then_some("only the command line opens the far side");
    }
    (floor(from) <= floor(to)).then_some("it is not on a lower floor")
}

fn is_room(name: &str) -> bool {
    floor(name).is_some() || FAR.iter().any(|(room, _)| *room == name)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}
