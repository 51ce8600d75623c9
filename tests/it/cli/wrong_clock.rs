//! Commands on a host whose clock is wrong: what they refuse, and that they say why and what to do.

use chancery::clock::{Clock, SystemClock, days};
use chancery::store::engine::{Db, q};

use crate::support::process::{chancery, code, told};
use crate::support::stores::plain;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_sign_or_change_a_ca_name_the_wrong_clock_and_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let run =
        |arguments: &[&str]| chancery(home.path()).env("CHANCERY_DATA", &data).args(arguments).output().unwrap();
    let issue = ["issue", "a.lab.example", "--out", home.path().to_str().unwrap()];
    let made = run(&["init"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    assert_eq!(code(&run(&["issue", "b.lab.example", "--out", home.path().to_str().unwrap()])), 0);
    let csr = home.path().join("c.csr");
    std::fs::write(&csr, crate::api::room::csr(&["c.lab.example"])).unwrap();

    // this machine is a day behind what the database has seen
    let db = Db::open_sqlite(&data.join("chancery.db")).await.unwrap();
    let record = plain("UPDATE clock_mark SET recorded_at = $1 WHERE id = 1");
    q(record).bind(SystemClock.now() + days(1)).execute(&db).await.unwrap();
    db.close().await;

    // a kernel that keeps its clock synchronized is believed
    let (expected, shown) = if SystemClock.is_synchronized() { (0, 0) } else { (6, 11) };
    assert_eq!(code(&run(&["clock", "show"])), shown);
    let commands: [&[&str]; 8] = [
        &issue,
        &["sign", csr.to_str().unwrap()],
        &["ca", "create", "dev"],
        &["ca", "create", "tls", "--under", "tls-root"],
        &["ca", "crl", "sign", "tls-root"],
        &["ca", "renew", "tls-1"],
        &["ca", "retire", "tls-1", "--yes"],
        &["revoke", "tls-1", "--yes"],
    ];
    for command in commands {
        let output = run(command);
        assert_eq!(code(&output), expected, "{command:?}: {}", told(&output));
        if expected != 0 {
            let why = "this server's clock is 24 hours behind the time that this CA recorded last";
            assert!(told(&output).contains(why), "{command:?}: {}", told(&output));
            assert!(told(&output).contains(" clock trust`"), "{command:?}: {}", told(&output));
        }
    }
    assert_eq!(code(&run(&["clock", "trust"])), 0);
    let output = run(&["ca", "create", "tls", "--under", "tls-root"]);
    assert_eq!(code(&output), 0, "{}", told(&output));
    let output = run(&issue);
    assert_eq!(code(&output), 0, "{}", told(&output));
}
