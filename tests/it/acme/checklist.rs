//! The checklist of a strict server (reference/acme.md §1): every item has a test that carries its id in its name,
//! `fn o5_…` or `fn j20_j21_…`, somewhere under tests/it or beside the code.

use std::collections::BTreeSet;
use std::path::Path;

/// (letters, first, last) of the items.
const ITEMS: [(&str, u32, u32); 21] = [
    ("t", 1, 14),
    ("n", 1, 10),
    ("j", 1, 8),
    ("j", 20, 34),
    ("e", 1, 5),
    ("a", 1, 13),
    ("x", 1, 6),
    ("o", 1, 13),
    ("z", 1, 9),
    ("h", 1, 6),
    ("d", 1, 3),
    ("l", 1, 4),
    ("i", 1, 3),
    ("f", 1, 6),
    ("r", 1, 6),
    ("ar", 1, 7),
    ("pr", 1, 5),
    ("c", 1, 10),
    ("rfc", 9444, 9444),
    ("dns_account_", 1, 1),
    ("dns_persist_", 1, 1),
];

#[test]
fn every_item_of_the_checklist_has_a_test_that_carries_its_id() {
    let mut names = Vec::new();
    for (folder, product) in [("/tests/it", false), ("/src", true)] {
        collect(Path::new(&format!("{}{folder}", env!("CARGO_MANIFEST_DIR"))), product, &mut names);
    }
    assert!(names.len() > 300, "the sources of the tests were found");
    let carried: BTreeSet<String> = names.iter().flat_map(|name| name.split('_').map(str::to_owned)).collect();
    let missing: Vec<String> = ITEMS
        .into_iter()
        .flat_map(|(letters, first, last)| (first..=last).map(move |n| (letters, n)))
        .filter(|(letters, n)| match letters.strip_suffix('_') {
            Some(word) => !names.iter().any(|name| name.contains(&format!("{word}_0{n}"))),
            None => !carried.contains(&format!("{letters}{n}")),
        })
        .map(|(letters, n)| format!("{letters}{n}"))
        .collect();
    assert!(missing.is_empty(), "no test carries {}", missing.join(", "));
}

/// The names of all functions that a test could be: in the product those with `#[test]`, under tests/it also those of
/// the macros for both engines.
fn collect(folder: &Path, product: bool, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, product, names);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut marked = false;
        for line in text.lines() {
            let line = line.trim_start();
            if line.starts_with("#[") {
                marked |= line.contains("test");
                continue;
            }
            let counts = std::mem::take(&mut marked) || !product;
            let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) else { continue };
            if !counts {
                continue;
            }
            names.push(rest.split(['(', '<']).next().unwrap().to_owned());
        }
    }
}
