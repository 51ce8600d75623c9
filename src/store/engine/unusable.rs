//! Why a server of the database cannot be used, in words, and what to change.

use std::io;

use crate::error::{Error, ErrorKind};

/// What was found out about one server.
#[derive(Debug)]
pub(super) enum Unusable {
    Failed(sqlx::Error),
    /// It is a standby, or was set to read-only.
    ReadOnly,
    /// It did not answer in time.
    Silent,
}

impl From<Unusable> for sqlx::Error {
    fn from(failure: Unusable) -> Self {
        match failure {
            Unusable::Failed(error) => error,
            Unusable::ReadOnly => sqlx::Error::Protocol("the server takes no writes".to_owned()),
            Unusable::Silent => super::silent(),
        }
    }
}

impl Unusable {
    /// May the next attempt succeed without anybody's doing?
    pub fn may_pass(&self) -> bool {
        match self {
            Unusable::ReadOnly | Unusable::Silent => true,
            Unusable::Failed(sqlx::Error::Io(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
            Unusable::Failed(sqlx::Error::Database(told)) => {
                told.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("53"))
            }
            Unusable::Failed(_) => false,
        }
    }

    /// Was it the password, or that there was none?
    pub fn is_password(&self) -> bool {
        match self {
            Unusable::Failed(sqlx::Error::Database(told)) => {
                let code = told.code().unwrap_or_default();
                is_password(&code, told.message())
            }
            Unusable::Failed(_) | Unusable::ReadOnly | Unusable::Silent => false,
        }
    }

    /// Why, and what to change.
    fn words(&self) -> (String, &'static str) {
        match self {
            Unusable::ReadOnly => (
                "it takes no writes, because it is a standby or was set to read-only".to_owned(),
                "name the primary, or several hosts with target_session_attrs=read-write",
            ),
            Unusable::Silent => ("it does not answer".to_owned(), "check host, port and firewall"),
            Unusable::Failed(sqlx::Error::Io(error)) => of_io(error),
            Unusable::Failed(sqlx::Error::Database(told)) => {
                (told.message().to_owned(), of_code(told.code().as_deref().unwrap_or_default(), told.message()))
            }
            Unusable::Failed(sqlx::Error::Tls(error)) => of_tls(&error.to_string()),
            Unusable::Failed(sqlx::Error::PoolTimedOut) => {
                ("no connection came in time".to_owned(), "check host, port and the server's load")
            }
            Unusable::Failed(other) => (other.to_string(), "check the database URL (--database-url)"),
        }
    }
}

fn of_io(error: &io::Error) -> (String, &'static str) {
    let address = "start it or check host and port in --database-url";
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ("nothing listens there".to_owned(), address),
        io::ErrorKind::NotFound => {
            ("its socket does not exist".to_owned(), "start it, or check the directory in host=")
        }
        io::ErrorKind::PermissionDenied => {
            ("its socket may not be opened by this user".to_owned(), "check the rights of its directory")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => (
            format!("it closed the connection ({error})"),
            "look into the log of the server or of the pooler before it",
        ),
        _ => (error.to_string(), "check host and port in --database-url"),
    }
}

fn is_password(code: &str, message: &str) -> bool {
    let is_told = || message.contains("authentication failed") || message.contains("password");
    code == "28P01" || code == "08P01" && is_told()
}

/// PostgreSQL, appendix A. PgBouncer says everything by 08P01.
fn of_code(code: &str, message: &str) -> &'static str {
    match code {
        "28P01" | "28000" => "check user and password (PGPASSWORD or ~/.pgpass), and pg_hba.conf on the server",
        "3D000" => "create the database with createdb, or check its name",
        "42501" => "grant the user CONNECT and CREATE on the database",
        "53300" => "let fewer programs connect, or raise max_connections there",
        "57P03" => "wait until it has started; a standby needs hot_standby to take connections",
        "08P01" if message.contains("unsupported startup parameter") => {
            "this is a pooler: take the parameter out of the database URL, or name it in ignore_startup_parameters of PgBouncer"
        }
        "08P01" if is_password(code, message) => {
            "the user or the password is wrong, or the pooler does not have them: check user and password (PGPASSWORD or \
             ~/.pgpass), and auth_file and auth_query of PgBouncer"
        }
        "08P01" if message.contains("no such database") => "check the database's name, and [databases] of PgBouncer",
        "08P01" => "this is a pooler: look into its log, and check user and database in its settings",
        _ => "check the database URL (--database-url)",
    }
}

fn of_tls(message: &str) -> (String, &'static str) {
    let why = format!("TLS failed ({message})");
    if message.contains("does not support TLS") {
        let fix = "turn on ssl there; where nobody can listen in between, sslmode=disable goes without";
        return ("it offers no TLS".to_owned(), fix);
    }
    if message.contains("UnknownIssuer") {
        return (
            why,
            "name the file of the CA that signed the server's certificate with sslrootcert=FILE in the database URL",
        );
    }
    if message.contains("NotValidForName") || message.contains("not valid for name") {
        return (why, "connect by a name that the server's certificate has");
    }
    (why, "check the server's certificate, and sslmode, sslrootcert, sslcert and sslkey in the database URL")
}

/// One sentence about all servers.
pub(super) fn error(failures: &[(String, Unusable)]) -> Error {
    let told: Vec<_> = failures.iter().map(|(host, failure)| (host, failure.words())).collect();
    let text = match told.as_slice() {
        [(_, (why, fix))] => format!("{why}; {fix}"),
        all => {
            let each: Vec<_> = all.iter().map(|(host, (why, fix))| format!("{host}: {why} ({fix})")).collect();
            format!("none of its servers can be used: {}", each.join("; "))
        }
    };
    Error::new(ErrorKind::Unavailable, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_named_with_what_to_change() {
        let io = |kind| Unusable::Failed(sqlx::Error::Io(io::Error::from(kind)));
        let tls = |text: &str| Unusable::Failed(sqlx::Error::Tls(text.into()));
        for (failure, why, fix, may_pass) in [
            (io(io::ErrorKind::ConnectionRefused), "nothing listens there", "start it", true),
            (io(io::ErrorKind::NotFound), "socket does not exist", "host=", false),
            (tls("invalid peer certificate: UnknownIssuer"), "UnknownIssuer", "sslrootcert=FILE", false),
            (tls("server does not support TLS"), "offers no TLS", "turn on ssl", false),
            (Unusable::ReadOnly, "takes no writes", "target_session_attrs", true),
            (Unusable::Silent, "does not answer", "firewall", true),
        ] {
            assert_eq!(failure.may_pass(), may_pass, "{failure:?}");
            let told = error(&[("db:1".to_owned(), failure)]);
            assert!(told.detail.contains(why) && told.detail.contains(fix), "{told}");
        }
        for told in [
            "SASL authentication failed",
            "password authentication failed",
            "server login failed: wrong password type",
        ] {
            assert!(is_password("08P01", told) && of_code("08P01", told).contains("password is wrong"), "{told}");
        }
        assert!(of_code("08P01", "no such database: x").contains("[databases]"));
        assert!(of_code("08P01", "unsupported startup parameter: options").contains("ignore_startup_parameters"));
        let both = error(&[("a:1".into(), Unusable::Silent), ("b:2".into(), Unusable::ReadOnly)]);
        assert!(
            both.detail.contains("a:1: it does not answer") && both.detail.contains("b:2: it takes no writes"),
            "{both}"
        );
    }
}
