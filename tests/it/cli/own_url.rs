//! The external URL that the installation keeps: servers without the setting and commands on the host have it, and one that
//! was written by somebody else is not used.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use super::{chancery, code, run, told};
use crate::support::postgres;
use crate::support::process::Process;

const ONE: &str = "https://ca.lab.example:8443";
const TWO: &str = "https://other.lab.example";

/// An installation on SQLite, or on a database of Postgres.
struct Place<'a> {
    home: &'a Path,
    postgres: Option<&'a str>,
}

impl Place<'_> {
    fn environment(&self) -> Vec<(&str, &str)> {
        self.postgres.iter().map(|url| ("CHANCERY_DATABASE_URL", *url)).collect()
    }

    fn run(&self, arguments: &[&str]) -> std::process::Output {
        let unsafe_database = self.postgres.map(|_| ("CHANCERY_ALLOW_UNSAFE_DATABASE", "true"));
        chancery(self.home).args(arguments).envs(self.environment()).envs(unsafe_database).output().unwrap()
    }

    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.home, arguments, &self.environment())
    }

    /// Starts and stops a server; the URL of its ACME directory, and what it said.
    fn serves(&self, arguments: &[&str]) -> (String, String) {
        let mut server = self.start(arguments);
        let directory = server.ready["acme_directory"].as_str().unwrap().to_owned();
        server.signal(libc::SIGTERM);
        assert_eq!(server.ended(), Some(0));
        (directory, server.stderr())
    }

    async fn sql(&self, text: &'static str) {
        let done = match self.postgres {
            Some(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                connection.execute(AssertSqlSafe(text)).await.unwrap().rows_affected()
            }
            None => {
                let file = self.home.join(".local/share/chancery/chancery.db");
                let mut connection =
                    SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
                connection.execute(AssertSqlSafe(text)).await.unwrap().rows_affected()
            }
        };
        assert_eq!(done, 1, "{text}");
    }
}

async fn on_both(check: impl AsyncFn(Place<'_>)) {
    let home = tempfile::tempdir().unwrap();
    check(Place { home: home.path(), postgres: None }).await;
    let (home, url) = (tempfile::tempdir().unwrap(), postgres::create_database().await);
    check(Place { home: home.path(), postgres: Some(&url) }).await;
    postgres::drop_database(&url).await;
}

/// Lines in JSON and others that hold these words.
fn warned(said: &str, words: &str) -> (usize, usize) {
    let (log, talk): (Vec<&str>, Vec<&str>) =
        said.lines().filter(|line| line.contains(words)).partition(|line| line.starts_with('{'));
    (log.len(), talk.len())
}

fn directory(base: &str) -> String {
    format!("{base}/acme/default/directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_url_that_init_or_serve_was_given_is_kept() {
    on_both(async |place| {
        let made = place.run(&["init", "--external-url", ONE]);
        assert!(code(&made) == 0 && told(&made).contains(&directory(ONE)), "{}", told(&made));
        // before any server, and by a server without the setting
        assert!(place.prints(&["setup-link"]).starts_with(&format!("{ONE}/setup#")));
        let (at, said) = place.serves(&[]);
        assert_eq!(at, directory(ONE));
        assert!(
            said.contains("the one that this installation has stored is used")
                && !said.contains("that started before"),
            "{said}"
        );
        // a second init changes nothing, and says what does
        let again = place.run(&["init", "--external-url", TWO]);
        assert!(told(&again).contains(&format!("its external URL stays {ONE}")), "{}", told(&again));
        assert!(told(&again).contains("serve --external-url"), "{}", told(&again));
        // another one holds from the next start on, for commands and servers
        let (at, said) = place.serves(&["--external-url", TWO]);
        assert!(at == directory(TWO) && said.contains(&format!("--external-url {ONE}")), "{said}");
        assert_eq!(place.serves(&[]).0, directory(TWO));
        for command in [&["setup-link"][..], &["quickstart", "certbot"]] {
            assert!(place.prints(command).contains(TWO), "{command:?}");
        }
        let changes = place.prints(&["audit", "list", "-o", "json"]);
        assert_eq!(changes.matches("installation.external_url_changed").count(), 2, "{changes}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_url_that_init_was_given_is_kept_and_another_one_is_warned_of_once() {
    on_both(async |place| {
        let made = place.run(&["init", "--status-url", "http://pki.lab.example"]);
        assert_eq!(code(&made), 0, "{}", told(&made));
        let (_, said) = place.serves(&[]);
        assert!(!said.contains("has to answer"), "{said}");
        let (_, said) = place.serves(&["--status-url", "http://other.lab.example"]);
        let words = "status_url is http://other.lab.example, and";
        assert_eq!(warned(&said, words), (1, 1), "one line for people, one for programs: {said}");
        let mut server = Process::start(
            place.home,
            &["--status-url", "http://other.lab.example"],
            &[&place.environment()[..], &[("CHANCERY_LOG_FORMAT", "text")]].concat(),
        );
        server.signal(libc::SIGTERM);
        server.ended();
        assert_eq!(warned(&server.stderr(), words), (0, 1), "{}", server.stderr());
        let made = place.run(&["ca", "create", "dev"]);
        assert_eq!(code(&made), 0, "{}", told(&made));
        let shown = place.prints(&["ca", "show", "dev-1", "-o", "json"]);
        assert!(shown.contains("\"http://pki.lab.example/crl/dev-1.crl\""), "{shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_url_that_leads_to_a_port_where_nothing_listens_is_warned_of_once() {
    on_both(async |place| {
        let made = place.run(&["init", "--listen-http", "127.0.0.1:1"]);
        assert_eq!(code(&made), 0, "{}", told(&made));
        let (_, said) = place.serves(&[]);
        assert_eq!(warned(&said, "has to answer at http://127.0.0.1:1 for as long as"), (1, 1), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_was_written_by_somebody_else_is_not_used_until_one_is_given() {
    on_both(async |place| {
        assert_eq!(code(&place.run(&["init", "--external-url", ONE])), 0);
        // sealed bytes, and none of this value
        place.sql("UPDATE installation SET external_url = status_key").await;
        let words = "was not stored by this CA and is not used";
        for _ in 0..2 {
            let (at, said) = place.serves(&[]);
            assert!(at.starts_with("https://127.0.0.1:") && said.contains(words), "{at}: {said}");
        }
        assert!(!place.prints(&["setup-link"]).contains(ONE));
        let doctor = place.run(&["doctor"]);
        assert_eq!(code(&doctor), 10, "{}", told(&doctor));
        assert!(String::from_utf8_lossy(&doctor.stdout).contains(words));
        let fsck = place.run(&["fsck"]);
        assert!(code(&fsck) == 11 && told(&fsck).contains(words), "{}", told(&fsck));
        place.serves(&["--external-url", ONE]);
        let (at, said) = place.serves(&[]);
        assert!(at == directory(ONE) && !said.contains(words), "{said}");
        assert_eq!(code(&place.run(&["fsck"])), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_server_has_the_stored_url_by_its_status_key() {
    on_both(async |place| {
        assert_eq!(code(&place.run(&["init", "--external-url", ONE])), 0);
        place.serves(&[]);
        assert_eq!(place.serves(&["--locked"]).0, directory(ONE));
        std::fs::remove_file(place.home.join(".local/share/chancery/status.key")).unwrap();
        let (at, said) = place.serves(&["--locked"]);
        assert!(
            at.starts_with("https://127.0.0.1:") && said.contains("cannot be read without the unlock key"),
            "{said}"
        );
        // it did not take the place of the one that was given
        assert_eq!(place.serves(&[]).0, directory(ONE));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_different_urls_are_a_finding_of_doctor() {
    let (home, url) = (tempfile::tempdir().unwrap(), postgres::create_database().await);
    let place = Place { home: home.path(), postgres: Some(&url) };
    let _one = place.start(&["--external-url", ONE]);
    let second = place.start(&[]);
    assert_eq!(second.ready["acme_directory"], directory(ONE), "a replica without the setting");
    let told_of = |words: &str| String::from_utf8(place.run(&["doctor"]).stdout).unwrap().contains(words);
    assert!(!told_of("different external URLs"));
    let _third = place.start(&["--external-url", TWO]);
    assert!(told_of(&format!("different external URLs: {TWO}, {ONE}")));
    drop(second);
    postgres::drop_database(&url).await;
}

#[test]
fn a_machine_without_ipv6_listens_on_ipv4() {
    let home = tempfile::tempdir().unwrap();
    let open = ["--listen", ":0", "--listen-http", ":0", "--external-url", ONE];
    let server = Process::start_without_ipv6(home.path(), &open);
    assert_eq!(server.ready["acme_directory"], directory(ONE));
    assert!(server.stderr().contains("listening on 0.0.0.0:"), "{}", server.stderr());
    assert_eq!(code(&run(home.path(), &["issue", "web.lab.example"])), 0);
}
