//! The tables whose rows bear a MAC, each with the columns that grant something. A table's INSERT and UPDATE texts are given
//! to `write.rs`; the test below refuses any other statement that writes one of these columns.

use std::fmt::Display;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{
    AccountId, AuthorizationId, DirectoryId, EabKeyId, GrantId, IssuerCertificateId, IssuerId, ProfileId, SessionId,
    TokenId, UserId,
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
    /// The audit names each of its rows when it is made. Where it does not, it names those whose power was taken away.
    pub is_told: bool,
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

    /// What the key of every row that can have power comes after.
    pub(super) fn first_key(&self, now: Timestamp) -> Vec<Arg> {
        if self.name == AUTHORIZATIONS.name {
            return vec![AuthorizationId::first_at(now - AUTHORIZATION_LIFE).to_vec().into()];
        }
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
            is_told: true,
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
        pub const ALL_TABLES: &[&MacTable] = &[$($name,)+ ANCHORS, AUTHORIZATIONS, GRANT_COUNTS, EAB_KEY_COUNTS];
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
        id: Bytes, name: Text, role: Text, password_hash: Text, created_by: Text, created_at: Int, disabled_at: Int,
        suspended_at: Int
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
    ACCOUNTS = "acme_accounts" as "account" by "id" shown id::<AccountId>, lasting {
        id: Bytes, directory: Text, status: Text, jwk: Text, thumbprint: Bytes, public_key: Bytes, url: Text, terms_agreed: Bool,
        terms_url: Text, grant_id: Bytes, eab_key_id: Bytes, eab: Text, limits: Text, created_at: Int
    };
    DIRECTORIES = "acme_directories" as "directory" by "id" shown id::<DirectoryId>, lasting {
        id: Bytes, slug: Text, config: Text
    };
    ISSUERS = "issuers" as "issuer" by "id" shown id::<IssuerId>, public {
        id: Bytes, slug: Text, domain: Text, name: Text, role: Text, key_id: Bytes, parent_id: Bytes, status: Text, state: Text,
        is_default: Bool, former: Text, status_url: Text
    };
    /// A row appears when an operator first sets a lifetime.
    ISSUER_LIFETIMES = "issuer_lifetimes" as "issuer_lifetimes" by "issuer_id" shown id::<IssuerId>, public {
        issuer_id: Bytes, crl_lifetime: Int, ocsp_lifetime: Int
    };
    ISSUER_CERTIFICATES = "issuer_certificates" as "issuer_certificate" by "id" shown id::<IssuerCertificateId>, public {
        id: Bytes, issuer_id: Bytes, certificate_id: Bytes, der: Bytes, not_before: Int, not_after: Int
    };
}

/// Columns that a table got after its rows had MACs: where one is NULL, the MAC is the one from before.
const LATER: [(&str, &str); 1] = [("users", "suspended_at")];

impl MacTable {
    /// The columns that a MAC covers, with their values.
    pub(super) fn covered<'a>(&self, values: &'a [Arg]) -> impl Iterator<Item = (&'static str, &'a Arg)> {
        let is_later = |name| LATER.contains(&(self.name, name));
        let is_null = |value: &Arg| matches!(value, Arg::Bytes(None) | Arg::Int(None) | Arg::Text(None));
        let named = self.columns.iter().map(|column| column.name).zip(values);
        named.filter(move |(name, value)| !(is_later(*name) && is_null(value)))
    }
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

const ANCHOR_HELD: &str = concat!(
    "SELECT domain, fingerprint, der, not_before, not_after, standing, ",
    mac_columns!("anchors", "anchors", "", "fingerprint"),
    " FROM anchors WHERE domain = $1 AND fingerprint = $2 FOR UPDATE"
);

/// CA certificates of others, known by their domain and fingerprint.
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
    is_told: true,
    read: Sql { name: "row_macs::ANCHORS::read", sqlite: ANCHOR_ROW, postgres: ANCHOR_HELD },
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

/// A count that stands beside the columns of a row and moves with each use: it has a version and a MAC of its own.
macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident = $column:literal of $table:literal as $object:literal shown $show:expr;)+) => {
        $($(#[$doc])* pub(in crate::store) const $name: &MacTable = &MacTable {
            name: concat!($table, ".", $column),
            object: $object,
            keys: &["id"],
            columns: &[
                Column { name: "id", kind: ColumnKind::Bytes },
                Column { name: $column, kind: ColumnKind::Int },
            ],
            show: $show,
            is_public: false,
            lasts: false,
            is_told: true,
            read: counts!(@sql $name "::read", $column, $table, "id = $1", " FOR UPDATE"),
            seal: Sql {
                name: concat!("row_macs::", stringify!($name), "::seal"),
                sqlite: concat!("WITH made (key_value, version, mac) AS (VALUES ($1, $2, $3)) UPDATE ", $table, " SET count_version = made.version, \
                        count_mac = made.mac FROM made WHERE ", $table, ".id = made.key_value"),
                postgres: concat!("UPDATE ", $table, " SET count_version = made.version, count_mac = made.mac FROM (SELECT * FROM UNNEST($1::bytea[], \
                        $2::bigint[], $3::bytea[]) AS u (key_value, version, mac)) AS made WHERE ", $table, ".id = made.key_value"),
            },
            walk: counts!(@sql $name "::walk", $column, $table, "id > $1 ORDER BY id LIMIT $2", ""),
            hold: counts!(@sql $name "::hold", $column, $table, "id > $1 ORDER BY id LIMIT $2", " FOR UPDATE"),
        };)+
    };
    (@sql $name:ident $what:literal, $column:literal, $table:literal, $rest:literal, $lock:literal) => {
        Sql {
            name: concat!("row_macs::", stringify!($name), $what),
            sqlite: counts!(@text $column, $table, $rest, ""),
            postgres: counts!(@text $column, $table, $rest, $lock),
        }
    };
    (@text $column:literal, $table:literal, $rest:literal, $lock:literal) => {
        concat!("SELECT id, ", $column, ", count_version AS row_version, count_mac AS row_mac, CAST(NULL AS BIGINT) AS row_floor FROM ",
            $table, " WHERE ", $rest, $lock)
    };
}

counts! {
    /// How often a grant was used.
    GRANT_COUNTS = "used_count" of "grants" as "grant_count" shown id::<GrantId>;
    /// How many accounts an EAB key has registered.
    EAB_KEY_COUNTS = "used_accounts" of "eab_keys" as "eab_key_count" shown id::<EabKeyId>;
}

/// No authorization is good for longer, by far; its id says when it was made.
pub const AUTHORIZATION_LIFE: std::time::Duration = crate::clock::days(9);

/// What the MAC of an authorization covers: its columns, and whether it rests on the account's grant.
macro_rules! authorization_values {
    () => {
        "a.id, a.account_id, a.order_id, a.position, a.status, a.kind, a.value, a.wildcard, a.subdomains, a.expires_at, a.created_at, \
         EXISTS (SELECT 1 FROM acme_challenges granting WHERE granting.authorization_id = a.id AND granting.kind = 'chancery-grant-01') AS granted"
    };
}
pub(in crate::store) use authorization_values;

macro_rules! authorization_rows {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            authorization_values!(),
            ", ",
            mac_columns!("acme_authorizations", "a", "", "id"),
            " FROM acme_authorizations a WHERE ",
            $rest
        )
    };
}
pub(super) use authorization_rows;

/// ACME authorizations. There are millions: the audit does not name them, and only those that are pending or valid have a
/// MAC that is looked at.
pub(in crate::store) const AUTHORIZATIONS: &MacTable = &MacTable {
    name: "acme_authorizations",
    object: "authorization",
    keys: &["id"],
    columns: &[
        Column { name: "id", kind: ColumnKind::Bytes },
        Column { name: "account_id", kind: ColumnKind::Bytes },
        Column { name: "order_id", kind: ColumnKind::Bytes },
        Column { name: "position", kind: ColumnKind::Int },
        Column { name: "status", kind: ColumnKind::Text },
        Column { name: "kind", kind: ColumnKind::Text },
        Column { name: "value", kind: ColumnKind::Text },
        Column { name: "wildcard", kind: ColumnKind::Bool },
        Column { name: "subdomains", kind: ColumnKind::Bool },
        Column { name: "expires_at", kind: ColumnKind::Int },
        Column { name: "created_at", kind: ColumnKind::Int },
        Column { name: "granted", kind: ColumnKind::Bool },
    ],
    show: id::<AuthorizationId>,
    is_public: false,
    lasts: false,
    is_told: false,
    read: Sql {
        name: "row_macs::AUTHORIZATIONS::read",
        sqlite: authorization_rows!("a.id = $1"),
        postgres: authorization_rows!("a.id = $1 FOR UPDATE"),
    },
    seal: Sql {
        name: "row_macs::AUTHORIZATIONS::seal",
        sqlite: "WITH made (key_value, version, mac) AS (VALUES ($1, $2, $3)) UPDATE acme_authorizations SET row_version = made.version, \
                 row_mac = made.mac FROM made WHERE acme_authorizations.id = made.key_value",
        postgres: "UPDATE acme_authorizations SET row_version = made.version, row_mac = made.mac FROM (SELECT * FROM UNNEST($1::bytea[], \
                   $2::bigint[], $3::bytea[]) AS u (key_value, version, mac)) AS made WHERE acme_authorizations.id = made.key_value",
    },
    walk: Sql {
        name: "row_macs::AUTHORIZATIONS::walk",
        sqlite: authorization_rows!("a.id > $1 AND a.status IN ('pending', 'valid') ORDER BY a.id LIMIT $2"),
        postgres: authorization_rows!("a.id > $1 AND a.status IN ('pending', 'valid') ORDER BY a.id LIMIT $2"),
    },
    hold: Sql {
        name: "row_macs::AUTHORIZATIONS::hold",
        sqlite: authorization_rows!("a.id > $1 AND a.status IN ('pending', 'valid') ORDER BY a.id LIMIT $2"),
        postgres: authorization_rows!(
            "a.id > $1 AND a.status IN ('pending', 'valid') ORDER BY a.id LIMIT $2 FOR UPDATE"
        ),
    },
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
                // one that has ended is refused by its status, whatever its MAC
                if ["'deactivated'", "'expired'"]
                    .iter()
                    .any(|end| text.contains(&format!("{name} SET status = {end} ")))
                {
                    assert_eq!(name, AUTHORIZATIONS.name, "{}", sql.name);
                    continue;
                }
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
