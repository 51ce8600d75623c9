//! The tables whose rows bear a MAC, each with the columns that grant something. A table's INSERT and UPDATE texts are given
//! to `write.rs`; the test below refuses any other statement that writes one of these columns.

use std::fmt::Display;

use crate::error::Result;
use crate::model::id::{
    DirectoryId, EabKeyId, GrantId, IssuerCertificateId, IssuerId, ProfileId, SessionId, TokenId, UserId,
};
use crate::model::serial::to_hex;
use crate::store::engine::{Arg, Row, Sql};

/// One column of a MAC.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Bytes,
    Int,
    Text,
    Bool,
}

impl ColumnKind {
    pub(super) const fn null(self) -> Arg {
        match self {
            ColumnKind::Bytes => Arg::Bytes(None),
            ColumnKind::Int => Arg::Int(None),
            ColumnKind::Text => Arg::Text(None),
            ColumnKind::Bool => Arg::Bool(false),
        }
    }

    /// A value that stands in the text of a statement.
    pub(super) fn literal(self, text: &str) -> Option<Arg> {
        match self {
            _ if text == "NULL" => Some(self.null()),
            ColumnKind::Int => text.parse().ok().map(|number| Arg::Int(Some(number))),
            ColumnKind::Bool => text.to_lowercase().parse().ok().map(Arg::Bool),
            ColumnKind::Text => Some(Arg::Text(Some(text.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))),
            ColumnKind::Bytes => None,
        }
    }
}

/// A table whose rows bear a MAC.
#[derive(Debug)]
pub struct MacTable {
    pub name: &'static str,
    /// What the audit calls a row, before the colon.
    pub object: &'static str,
    pub keys: &'static [&'static str],
    pub columns: &'static [Column],
    show: fn(&[u8]) -> String,
    /// Its rows make up bundles and chains, which are served while the server is locked.
    pub(super) is_public: bool,
    /// Its rows are never deleted.
    pub lasts: bool,
    /// One row by its key, held until the transaction ends.
    pub(super) read: Sql,
    /// Version and MAC of many rows.
    pub(super) seal: Sql,
    /// Rows after a key, in the order of keys.
    pub(super) walk: Sql,
    /// The same, held until the transaction ends.
    pub(super) hold: Sql,
}

impl MacTable {
    pub(super) fn shown(&self, key: &[u8]) -> String {
        (self.show)(key)
    }

    /// The key among the values of all columns.
    pub(super) fn key_of(&self, values: &[Arg]) -> Vec<Arg> {
        let is_key = |column: &Column| self.keys.contains(&column.name);
        self.columns.iter().zip(values).filter(|(column, _)| is_key(column)).map(|(_, value)| value.clone()).collect()
    }

    /// The key of a row whose columns may bear a prefix; nothing where it cannot be read.
    pub(super) fn key_of_row(&self, row: &Row, prefix: &str) -> Vec<Arg> {
        let value = |column: &Column| {
            let name = format!("{prefix}{}", column.name);
            // by its kind: SQLite gives the octets of a text too
            match column.kind {
                ColumnKind::Text => row.get::<String>(&name).map(Arg::from),
                ColumnKind::Bytes | ColumnKind::Int | ColumnKind::Bool => row.get::<Vec<u8>>(&name).map(Arg::from),
            }
        };
        let keys = self.columns.iter().filter(|column| self.keys.contains(&column.name));
        keys.map(value).collect::<Result<_>>().unwrap_or_default()
    }

    /// What every key comes after.
    pub(super) fn first_key(&self) -> Vec<Arg> {
        let first = |column: &&Column| self.keys.contains(&column.name);
        let least = |column: &Column| match column.kind {
            ColumnKind::Text => Arg::from(""),
            ColumnKind::Bytes | ColumnKind::Int | ColumnKind::Bool => Arg::from(Vec::new()),
        };
        self.columns.iter().filter(first).map(least).collect()
    }
}

/// What a checked row has besides its columns: version, MAC, and the least version that still counts. `$alias` is the
/// name of the table in the statement.
macro_rules! mac_columns {
    ($table:literal, $alias:literal, $prefix:literal, $key:literal) => {
        concat!(
            $alias,
            ".row_version AS ",
            $prefix,
            "row_version, ",
            $alias,
            ".row_mac AS ",
            $prefix,
            "row_mac, (SELECT MAX(f.least_version) FROM row_floors f WHERE f.table_name = '",
            $table,
            "' AND f.row_id = ",
            $alias,
            ".",
            $key,
            ") AS ",
            $prefix,
            "row_floor"
        )
    };
}
pub(in crate::store) use mac_columns;

macro_rules! lasts {
    (lasting) => {
        true
    };
    (public) => {
        true
    };
    (passing) => {
        false
    };
}

macro_rules! is_public {
    (public) => {
        true
    };
    ($other:ident) => {
        false
    };
}

macro_rules! mac_tables {
    ($($(#[$doc:meta])* $name:ident = $table:literal as $object:literal by $key:literal shown $show:expr, $lasts:ident { $($column:ident: $kind:ident),+ };)+) => {
        $($(#[$doc])* pub(in crate::store) const $name: &MacTable = &MacTable {
            name: $table,
            object: $object,
            keys: &[$key],
            columns: &[$(Column { name: stringify!($column), kind: ColumnKind::$kind }),+],
            show: $show,
            lasts: lasts!($lasts),
            is_public: is_public!($lasts),
            read: Sql {
                name: concat!("row_macs::", stringify!($name), "::read"),
                sqlite: concat!("SELECT ", $(stringify!($column), ", ",)+ mac_columns!($table, $table, "", $key), " FROM ", $table, " WHERE ", $key, " = $1"),
                postgres: concat!("SELECT ", $(stringify!($column), ", ",)+ mac_columns!($table, $table, "", $key), " FROM ", $table, " WHERE ", $key, " = $1 FOR UPDATE"),
            },
            seal: Sql {
                name: concat!("row_macs::", stringify!($name), "::seal"),
                sqlite: concat!("WITH made (key_value, version, mac) AS (VALUES ($1, $2, $3)) UPDATE ", $table, " SET row_version = made.version, row_mac = made.mac \
                        FROM made WHERE ", $table, ".", $key, " = made.key_value"),
                postgres: concat!("UPDATE ", $table, " SET row_version = made.version, row_mac = made.mac \
                        FROM (SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bytea[]) AS u (key_value, version, mac)) AS made WHERE ", $table, ".", $key, " = made.key_value"),
            },
            walk: Sql {
                name: concat!("row_macs::", stringify!($name), "::walk"),
                sqlite: concat!("SELECT ", $(stringify!($column), ", ",)+ mac_columns!($table, $table, "", $key), " FROM ", $table, " WHERE ", $key, " > $1 ORDER BY ", $key, " LIMIT $2"),
                postgres: concat!("SELECT ", $(stringify!($column), ", ",)+ mac_columns!($table, $table, "", $key), " FROM ", $table, " WHERE ", $key, " > $1 ORDER BY ", $key, " LIMIT $2"),
            },
            hold: Sql {
                name: concat!("row_macs::", stringify!($name), "::hold"),
                sqlite: concat!("SELECT ", $(stringify!($column), ", ",)+ mac_columns!($table, $table, "", $key), " FROM ", $table, " WHERE ", $key, " > $1 ORDER BY ", $key, " LIMIT $2"),
                postgres: concat!("SELECT ", $(stringify!($column), ", ",)+ mac_columns!($table, $table, "", $key), " FROM ", $table, " WHERE ", $key, " > $1 ORDER BY ", $key, " LIMIT $2 FOR UPDATE"),
            },
        };)+
        /// All of them.
        pub const ALL_TABLES: &[&MacTable] = &[$($name,)+ ANCHORS];
    };
}

mac_tables! {
    TOKENS = "tokens" as "token" by "id" shown id::<TokenId>, lasting {
        id: Bytes, name: Text, secret_sha256: Bytes, role: Text, grant_id: Bytes, created_by: Text, created_at: Int, expires_at: Int,
        revoked_at: Int, suspended_at: Int
    };
    GRANTS = "grants" as "grant" by "id" shown id::<GrantId>, lasting {
        id: Bytes, name: Text, scope: Text, expires_at: Int, max_count: Int, created_by: Text, created_at: Int, revoked_at: Int,
        suspended_at: Int
    };
    USERS = "users" as "user" by "id" shown id::<UserId>, lasting {
        id: Bytes, name: Text, role: Text, password_hash: Text, created_by: Text, created_at: Int, disabled_at: Int
    };
    SESSIONS = "sessions" as "session" by "id" shown id::<SessionId>, passing {
        id: Bytes, user_id: Bytes, secret_sha256: Bytes, created_at: Int, expires_at: Int
    };
    SETUP_LINKS = "setup_links" as "setup_link" by "secret_sha256" shown to_hex, passing {
        secret_sha256: Bytes, created_by: Text, created_at: Int, expires_at: Int
    };
    EAB_KEYS = "eab_keys" as "eab_key" by "id" shown id::<EabKeyId>, lasting {
        id: Bytes, name: Text, directory: Text, grant_id: Bytes, sealed: Bytes, max_accounts: Int, created_by: Text, created_at: Int,
        expires_at: Int, revoked_at: Int, suspended_at: Int
    };
    PROFILES = "profiles" as "profile" by "id" shown id::<ProfileId>, lasting {
        id: Bytes, slug: Text, revision: Int, config: Text
    };
    DIRECTORIES = "acme_directories" as "directory" by "id" shown id::<DirectoryId>, lasting {
        id: Bytes, slug: Text, config: Text
    };
    ISSUERS = "issuers" as "issuer" by "id" shown id::<IssuerId>, public {
        id: Bytes, slug: Text, domain: Text, name: Text, role: Text, key_id: Bytes, parent_id: Bytes, status: Text, state: Text,
        is_default: Bool, former: Text, status_url: Text
    };
    ISSUER_CERTIFICATES = "issuer_certificates" as "issuer_certificate" by "id" shown id::<IssuerCertificateId>, public {
        id: Bytes, issuer_id: Bytes, certificate_id: Bytes, der: Bytes, not_before: Int, not_after: Int
    };
}

const ANCHOR_ROW: &str = concat!(
    "SELECT domain, fingerprint, der, not_before, not_after, standing, ",
    mac_columns!("anchors", "anchors", "", "fingerprint"),
    " FROM anchors WHERE domain = $1 AND fingerprint = $2"
);
const ANCHOR_ROWS: &str = concat!(
    "SELECT domain, fingerprint, der, not_before, not_after, standing, ",
    mac_columns!("anchors", "anchors", "", "fingerprint"),
    " FROM anchors WHERE (domain, fingerprint) > ($1, $2) ORDER BY domain, fingerprint LIMIT $3"
);

/// CA certificates of others, known by their domain and fingerprint. There are few: nobody is kept from one by a row lock.
pub(in crate::store) const ANCHORS: &MacTable = &MacTable {
    name: "anchors",
    object: "anchor",
    keys: &["domain", "fingerprint"],
    columns: &[
        Column { name: "domain", kind: ColumnKind::Text },
        Column { name: "fingerprint", kind: ColumnKind::Bytes },
        Column { name: "der", kind: ColumnKind::Bytes },
        Column { name: "not_before", kind: ColumnKind::Int },
        Column { name: "not_after", kind: ColumnKind::Int },
        Column { name: "standing", kind: ColumnKind::Text },
    ],
    show: to_hex,
    is_public: true,
    lasts: true,
    read: Sql { name: "row_macs::ANCHORS::read", sqlite: ANCHOR_ROW, postgres: ANCHOR_ROW },
    seal: Sql {
        name: "row_macs::ANCHORS::seal",
        sqlite: "WITH made (domain, fingerprint, version, mac) AS (VALUES ($1, $2, $3, $4)) UPDATE anchors SET row_version = made.version, \
                 row_mac = made.mac FROM made WHERE anchors.domain = made.domain AND anchors.fingerprint = made.fingerprint",
        postgres: "UPDATE anchors SET row_version = made.version, row_mac = made.mac FROM (SELECT * FROM UNNEST($1::text[], $2::bytea[], \
                   $3::bigint[], $4::bytea[]) AS u (domain, fingerprint, version, mac)) AS made WHERE anchors.domain = made.domain \
                   AND anchors.fingerprint = made.fingerprint",
    },
    walk: Sql { name: "row_macs::ANCHORS::walk", sqlite: ANCHOR_ROWS, postgres: ANCHOR_ROWS },
    hold: Sql { name: "row_macs::ANCHORS::hold", sqlite: ANCHOR_ROWS, postgres: ANCHOR_ROWS },
};

/// An id as it is shown everywhere; one that is none, in hex.
fn id<T: TryFrom<Vec<u8>> + Display>(key: &[u8]) -> String {
    T::try_from(key.to_vec()).map_or_else(|_| to_hex(key), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::statements;

    /// The tables and columns that a statement writes.
    fn written(text: &str) -> Option<(String, Vec<String>)> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "UPDATE" || *word == "INTO")?;
        let table = (*words.get(at + 1)?).to_owned();
        if words.get(at) == Some(&"INTO") {
            return Some((table, vec!["*".to_owned()]));
        }
        let set = text.split_once(" SET ")?.1;
        let set =
            [" WHERE ", " FROM ", " RETURNING "].iter().fold(set, |set, end| set.split(end).next().unwrap_or(set));
        let columns = set.split(',').filter_map(|part| part.split_once('=')).map(|(name, _)| name.trim().to_owned());
        Some((table, columns.collect()))
    }

    #[test]
    fn only_a_sealed_write_changes_what_a_mac_covers() {
        for sql in statements().into_iter().filter(|sql| !sql.name.starts_with("row_macs::")) {
            for text in [sql.sqlite, sql.postgres] {
                let Some((name, columns)) = written(text) else { continue };
                let Some(table) = ALL_TABLES.iter().find(|table| table.name == name) else { continue };
                let covered = |column: &String| {
                    column == "*" || column.starts_with("row_") || table.columns.iter().any(|c| c.name == column)
                };
                assert!(
                    !columns.iter().any(covered),
                    "{} writes {name} past its MAC; declare it with sealed_writes!",
                    sql.name
                );
            }
        }
        assert_eq!(
            written("UPDATE t SET a = $1, b = 2 WHERE c = 3"),
            Some(("t".into(), vec!["a".into(), "b".into()]))
        );
        assert_eq!(written("INSERT INTO t (a) VALUES ($1)"), Some(("t".into(), vec!["*".into()])));
    }
}
