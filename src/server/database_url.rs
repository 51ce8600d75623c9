//! The setting `database_url`: a file of SQLite, or a Postgres by URL or key=value pairs. It prints without its password.

use std::fmt;
use std::path::{Path, PathBuf};

use super::settings::{Given, Origin, config_error};
use crate::error::Result;
use crate::model::postgres::PostgresUrl;

const SPELLED: &str =
    "write it as postgres://user@host/name, as \"host=db user=ca dbname=name\" or as sqlite:///path/to/file";

#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// With its secrets.
    text: String,
    postgres: Option<PostgresUrl>,
}

impl DatabaseUrl {
    /// The URL with its secrets, for the driver alone.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The file of a SQLite URL.
    pub fn sqlite_path(&self) -> Result<PathBuf> {
        let rest = self.text.strip_prefix("sqlite:").unwrap_or(&self.text);
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split('?').next().unwrap_or_default();
        if path.is_empty() || path == ":memory:" {
            return Err(config_error("the database URL names no file; write it as sqlite:///path/to/chancery.db"));
        }
        Ok(PathBuf::from(path))
    }

    pub fn is_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// Is it the file that is used where no database is named?
    pub fn is_default_of(&self, data: &Path) -> bool {
        self.text == default_url(data)
    }

    pub(super) fn from_given(given: &Given, data: &Path) -> Result<DatabaseUrl> {
        let Some((text, origin)) = given.get("database_url") else {
            return Ok(DatabaseUrl { text: default_url(data), postgres: None });
        };
        if text.starts_with("sqlite:") {
            return Ok(DatabaseUrl { text: text.to_owned(), postgres: None });
        }
        if !PostgresUrl::is_meant(text) {
            return Err(config_error(format!(
                "the database URL is neither one of Postgres nor of SQLite; {SPELLED}"
            )));
        }
        let url = PostgresUrl::parse(text)
            .map_err(|why| config_error(format!("the database URL cannot be read: {why}; {SPELLED}")))?;
        if origin == Origin::Flag && url.has_password() {
            return Err(config_error(
                "--database-url holds a password, which every user of this machine could read in the process list; \
                 give the URL in CHANCERY_DATABASE_URL, or the password in PGPASSWORD or ~/.pgpass",
            ));
        }
        Ok(DatabaseUrl { text: text.to_owned(), postgres: Some(url) })
    }
}

fn default_url(data: &Path) -> String {
    format!("sqlite://{}", data.join("chancery.db").display())
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.postgres {
            Some(url) => url.fmt(f),
            None => f.write_str(&self.text),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use crate::server::config::Config;
    use crate::server::settings::Environment;

    #[test]
    fn a_password_in_an_argument_is_refused_and_in_the_environment_is_not() {
        for url in ["postgres://u:hunter2@localhost/db", "host=localhost user=u password=hunter2 dbname=db"] {
            let refused =
                Config::load(&[("database_url", url.to_owned())].into(), &Environment::default()).unwrap_err();
            assert!(refused.detail.contains("process list") && !refused.detail.contains("hunter2"), "{refused}");
            let config =
                Config::load(&Default::default(), &Environment::of(&[("CHANCERY_DATABASE_URL", url)])).unwrap();
            assert!(config.database.is_postgres());
            assert_eq!(config.database.expose(), url);
            assert!(!format!("{config:?} {}", config.database).contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_url_says_how_it_is_written() {
        for (url, part) in [
            ("mysql://db/x", "neither one of Postgres nor of SQLite"),
            ("db.example", "neither one of Postgres nor of SQLite"),
            ("postgres://u:pa/ss@db/x", "%2F for /"),
            ("host=db password=my secret", "single quotes"),
        ] {
            let environment = Environment::of(&[("CHANCERY_DATABASE_URL", url)]);
            let refused = Config::load(&Default::default(), &environment).unwrap_err().detail;
            assert!(refused.contains(part) && refused.contains("sqlite:///path"), "{refused}");
            assert!(!refused.contains("secret") && !refused.contains("ss@"), "{refused}");
        }
    }
}
