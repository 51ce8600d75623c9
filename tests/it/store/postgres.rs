//! A Postgres as people run it: several hosts, key=value pairs, sockets, standbys; and what is said when it cannot be used.

use std::time::Duration;

use chancery::store::engine::{Db, Sessions, q};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::ports::Refusing;
use crate::support::postgres::{OwnCluster, create_database};
use crate::support::stores::plain;
use crate::support::wait;

async fn works(db: &Db) -> bool {
    let text = "CREATE TEMPORARY TABLE IF NOT EXISTS writes (n BIGINT)";
    q(plain(text)).execute(db).await.is_ok()
}

/// Host and port, user and database of a URL of the tests.
fn parts(url: &str) -> (String, String, String, String) {
    let rest = url.split_once("://").unwrap().1;
    let (user, rest) = rest.split_once('@').unwrap();
    let (host, database) = rest.split_once('/').unwrap();
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "5432"));
    let user = user.split(':').next().unwrap();
    (host.to_owned(), port.to_owned(), user.to_owned(), database.to_owned())
}

/// A way to a server that ends with the task.
async fn way_to(host: &str, port: &str) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = (listener.local_addr().unwrap().port(), format!("{host}:{port}"));
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let there = there.clone();
            open.spawn(async move {
                let mut server = TcpStream::connect(there).await.unwrap();
                // either side may end it
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (here, task)
}

async fn refusal(url: &str) -> String {
    let error = Db::open_postgres(url, 2, "chancery").await.unwrap_err();
    assert!(!error.detail.contains("hunter2"), "{error}");
    error.detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_gone_is_passed_by_and_another_follows_while_it_runs() {
    let url = create_database().await;
    let (host, port, user, database) = parts(&url);
    let (first, way) = way_to(&host, &port).await;
    let nobody = Refusing::on_loopback();
    let gone = nobody.address;
    for text in [
        format!("postgres://{user}@{gone},127.0.0.1:{first},{host}:{port}/{database}"),
        format!("host=127.0.0.1,127.0.0.1,{host} port={},{first},{port} user={user} dbname={database}", gone.port()),
    ] {
        let db = Db::open_postgres(&text, 4, "chancery").await.unwrap();
        assert!(works(&db).await && works(&db.keyed()).await && works(&db.volatile()).await, "{text}");
        db.close().await;
    }
    let text =
        format!("postgres://{user}@127.0.0.1:{first},{host}:{port}/{database}?target_session_attrs=read-write");
    let db = Db::open_postgres(&text, 4, "chancery").await.unwrap();
    assert!(works(&db).await);
    way.abort();
    let _ended = way.await;
    for db in [db.clone(), db.keyed(), db.volatile()] {
        wait::until("the other server is found", async || works(&db).await.then_some(())).await;
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_passed_by_and_sockets_are_directories() {
    let standby = OwnCluster::start(&["fsync=off", "default_transaction_read_only=on"]).await;
    let primary = OwnCluster::start(&["fsync=off", "unix_socket_directories=/tmp"]).await;
    let (one, two) = (parts(&standby.url()), parts(&primary.url()));
    let both = format!("host={},{} port={},{} user={} dbname={}", one.0, two.0, one.1, two.1, two.2, two.3);
    let db = Db::open_postgres(&both, 2, "chancery").await.unwrap();
    assert!(works(&db).await);
    db.close().await;
    // any server will do where the operator says so
    let db = Db::open_postgres(&format!("{both} target_session_attrs=any"), 2, "chancery").await.unwrap();
    assert!(!works(&db).await);
    db.close().await;
    let told = refusal(&format!("{}?target_session_attrs=primary", standby.url())).await;
    assert!(told.contains("takes no writes") && told.contains("name the primary"), "{told}");

    for socket in [
        format!("host=/tmp port={} user=postgres dbname=postgres", two.1),
        format!("postgres:///postgres?host=/tmp&port={}&user=postgres", two.1),
        format!("postgres://postgres@%2Ftmp:{}/postgres", two.1),
    ] {
        let db = Db::open_postgres(&socket, 2, "chancery").await.unwrap();
        assert!(works(&db).await, "{socket}");
        assert_eq!(db.sessions().await.unwrap(), Sessions::Own);
        db.close().await;
    }
    let told = refusal("host=/no/such/directory user=postgres").await;
    assert!(told.contains("its socket does not exist"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named() {
    let url = create_database().await;
    let (host, port, _, _) = parts(&url);
    let (nobody, another) = (Refusing::on_loopback(), Refusing::on_loopback());
    let gone = nobody.address;
    for (text, words) in [
        (
            format!("postgres://postgres:hunter2@{host}:{port}/no_such_database"),
            &["no_such_database", "createdb"][..],
        ),
        (format!("postgres://nobody_at_all:hunter2@{host}:{port}/postgres"), &["nobody_at_all", "pg_hba.conf"]),
        (format!("postgres://postgres@{gone}/x"), &["nothing listens there", "start it"]),
        (
            format!("postgres://postgres@{gone},{}/x?connect_timeout=1", another.address),
            &["none of its servers can be used", "nothing listens there"],
        ),
        (
            format!("postgres://postgres@{host}:{port}/postgres?options=-c%20no_such_setting%3D1"),
            &["no_such_setting"],
        ),
        (format!("postgres://postgres@{host}:{port}/postgres?sslrootcert=/no/such.pem"), &["/no/such.pem"]),
    ] {
        let told = tokio::time::timeout(Duration::from_secs(60), refusal(&text)).await.unwrap();
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told}");
    }
}
