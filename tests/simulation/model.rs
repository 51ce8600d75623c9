//! What clients were told in a simulated week, and so what must hold.

use std::collections::{HashMap, HashSet};

use chancery::clock::Timestamp;
use chancery::model::crl::CrlNumber;

use crate::status::List;

/// What clients know of a certificate's revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Valid,
    /// Somebody asked for it and was told nothing.
    PerhapsRevoked,
    Revoked,
}

/// A certificate that a client was given.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: String,
    pub serial: String,
    pub name: String,
    pub der: Vec<u8>,
    pub standing: Standing,
    /// When it was given, in the order of what clients were told.
    given: u64,
    revoked: Option<u64>,
    /// A client has seen it on a CRL.
    pub listed: bool,
    /// A restored database may lack it.
    pub perhaps_lost: bool,
}

/// A request for a certificate under an Idempotency-Key, which is repeated until it is answered, and after.
#[derive(Debug, Clone)]
pub struct Wish {
    pub key: String,
    pub body: String,
    pub name: String,
    /// When it was sent first: a key is kept for a day.
    pub sent_at: Timestamp,
    /// Index of the certificate.
    pub answer: Option<usize>,
    /// It is not repeated any more.
    pub over: bool,
}

#[derive(Default)]
pub struct Model {
    pub known: Vec<Known>,
    pub wishes: Vec<Wish>,
    /// Every name that was asked for.
    pub names: HashSet<String>,
    /// How much clients were told.
    told: u64,
    /// What of it each server's anchor has seen.
    remembered: u64,
    serials: HashMap<String, Vec<u8>>,
    lists: HashMap<(String, String), Vec<u8>>,
    newest: HashMap<String, (CrlNumber, u64)>,
}

impl Model {
    /// A moment between what clients were told before and after.
    pub fn mark(&self) -> u64 {
        self.told
    }

    /// Every server's anchor holds what was told so far.
    pub fn remember(&mut self) {
        self.remembered = self.told;
    }

    pub fn given(&mut self, id: String, serial: String, name: String, der: Vec<u8>) -> usize {
        self.told += 1;
        let serial = plain(&serial);
        if let Some(at) = self.known.iter().position(|known| known.id == id) {
            assert_eq!(self.known[at].der, der, "certificate {id} has other bytes than before");
            // a repeated answer tells nothing new, unless a restore had lost the certificate
            if std::mem::take(&mut self.known[at].perhaps_lost) {
                self.known[at].given = self.told;
            }
            return at;
        }
        let before = self.serials.insert(serial.clone(), der.clone());
        assert!(before.is_none(), "serial {serial} was given twice");
        let (standing, given) = (Standing::Valid, self.told);
        let known =
            Known { id, serial, name, der, standing, given, revoked: None, listed: false, perhaps_lost: false };
        self.known.push(known);
        self.known.len() - 1
    }

    pub fn revoked(&mut self, at: usize) {
        self.told += 1;
        self.known[at].standing = Standing::Revoked;
        self.known[at].revoked = Some(self.told);
    }

    /// A CRL that a client fetched: no number has two contents, and none is lower than before.
    pub fn fetched(&mut self, path: &str, list: &List) {
        let number = list.number.to_string();
        let same = self.lists.entry((path.to_owned(), number.clone())).or_insert_with(|| list.bytes.clone());
        assert_eq!(same, &list.bytes, "{path} has other bytes than before under number {number}");
        if let Some((newest, _)) = self.newest.get(path) {
            assert!(list.number >= *newest, "{path} went back from number {newest} to {number}");
        }
        if self.newest.get(path).is_none_or(|(newest, _)| list.number > *newest) {
            self.told += 1;
            self.newest.insert(path.to_owned(), (list.number, self.told));
        }
        for known in self.known.iter_mut().filter(|known| list.has(&known.serial)) {
            known.listed = true;
        }
    }

    /// Must an installation notice that it goes on from a copy of the database that was made at `mark`?
    pub fn must_notice(&self, mark: u64) -> bool {
        let is_remembered = |told: u64| told > mark && told <= self.remembered;
        let mut told = self.known.iter().flat_map(|known| [Some(known.given), known.revoked]).flatten();
        // the number of a CRL is remembered before the CRL is served
        told.any(is_remembered) || self.newest.values().any(|(_, told)| *told > mark)
    }

    /// The database is the one of `mark` again.
    pub fn went_back(&mut self, mark: u64) {
        let mut lost = HashSet::new();
        for (at, known) in self.known.iter_mut().enumerate() {
            if known.given > mark {
                known.perhaps_lost = true;
                lost.insert(at);
            }
            // what clients have seen on a CRL stays revoked
            if known.revoked.is_some_and(|told| told > mark) && !known.listed {
                known.standing = Standing::PerhapsRevoked;
            }
        }
        for wish in &mut self.wishes {
            wish.over |= wish.answer.is_some_and(|at| lost.contains(&at));
        }
    }
}

/// As both OpenSSL and REST can be compared.
pub fn plain(serial: &str) -> String {
    serial.trim_start_matches('0').to_ascii_lowercase()
}
