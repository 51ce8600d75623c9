//! Users after a restore: one who was disabled after the backup does not sign in again, and everybody is told in one sentence
//! what lets a user in.

use chancery::access::password::Password;
use chancery::access::session::Place;
use chancery::access::sign_in::{SignIn, WAITING};
use chancery::access::users::NewUser;
use chancery::authority::reconcile::{ReconcileRequest, Reconciliation};
use chancery::error::{ErrorKind, Result};
use chancery::model::actor::{Actor, Role};
use chancery::model::user::{User, UserName};

use crate::on_both_servers;
use crate::support::server::TestServer;

const PASSWORD: &str = "orange meadow seven";

fn operator() -> Actor {
    Actor::host(0, "test")
}

async fn create(server: &TestServer, name: &str, role: Role) -> User {
    let new = NewUser { name: UserName::parse(name).unwrap(), role, password: Password::new(PASSWORD) };
    server.app().access.create_user(&operator(), &new).await.unwrap()
}

async fn sign_in(server: &TestServer, name: &str, password: &str) -> Result<()> {
    let password = Password::new(password);
    let ask = SignIn { name, password: &password, session: None, devices: &[] };
    server.app().access.sign_in(&ask, &Place::default()).await.map(drop)
}

async fn status(server: &TestServer, user: &User) -> &'static str {
    server.app().access.user(user.id).await.unwrap().status()
}

/// The text of the sign-in page.
async fn page(server: &TestServer) -> String {
    server.https("GET", "/sign-in", &[], b"").await.text()
}

async fn reconcile(server: &TestServer, confirm: &[&str]) -> Result<Reconciliation> {
    let host = server.host().await;
    let confirm = confirm.iter().map(|name| (*name).to_owned()).collect();
    let done = host.authority.reconcile(&operator(), &ReconcileRequest { confirm, ..Default::default() }).await;
    for _ in 0..2 {
        server.app().remember().await.unwrap();
    }
    done
}

on_both_servers! {
    async fn a_user_who_was_disabled_after_the_backup_does_not_sign_in_again(server) {
        let (alice, bob) = (create(server, "alice", Role::Admin).await, create(server, "bob", Role::Operator).await);
        let gone = create(server, "gone", Role::Viewer).await;
        server.app().access.disable_user(&operator(), gone.id).await.unwrap();
        let backup = server.backup().await;
        server.app().access.disable_user(&operator(), bob.id).await.unwrap();
        let changed = Password::new("purple harbour nine");
        server.app().access.reset_password(&operator(), alice.id, &changed).await.unwrap();
        assert!(sign_in(server, "alice", "purple harbour nine").await.is_ok());
        assert!(!page(server).await.contains("restored"));
        let wrong = sign_in(server, "bob", PASSWORD).await.unwrap_err();
        assert_eq!(wrong.detail, "name or password is wrong");

        server.restore(&backup).await;
        for restarted in [false, true] {
            if restarted {
                server.restart().await;
            }
            // whoever it is and whatever the password was, in the same words
            for (name, password) in [("bob", PASSWORD), ("alice", PASSWORD), ("alice", "purple harbour nine"), ("nobody", "x")] {
                let refused = sign_in(server, name, password).await.unwrap_err();
                assert_eq!(refused.kind, ErrorKind::Unauthenticated);
                assert_eq!(refused.detail, format!("name or password is wrong, or {WAITING}"), "{name}");
            }
            let page = page(server).await;
            assert!(page.contains("chancery reconcile --confirm NAME"), "{page}");
        }
        assert_eq!((status(server, &alice).await, status(server, &gone).await), ("suspended", "disabled"));

        // the way back in, on the host
        let access = &server.app().access;
        let refused = access.make_sign_in_link(&operator(), &access.user(bob.id).await.unwrap()).await.unwrap_err();
        assert_eq!(refused.detail, "user bob is suspended; run `chancery reconcile --confirm bob` first");
        assert_eq!(access.make_setup_secret(&operator()).await.unwrap_err().kind, ErrorKind::Conflict);
        let done = reconcile(server, &["alice"]).await.unwrap();
        let waiting: Vec<_> = done.suspended.iter().filter(|one| one.kind() == "user").collect();
        assert!(matches!(waiting[..], [one] if one.name == "bob" && one.role == "operator"), "{waiting:?}");
        assert!(sign_in(server, "alice", PASSWORD).await.is_ok());
        assert!(sign_in(server, "bob", PASSWORD).await.is_err());
        let checks = server.app().authority.checks().await;
        let check = checks.iter().find(|check| check.name == "history").unwrap();
        assert!(check.detail.starts_with("1 user is suspended since the database was restored"), "{}", check.detail);

        // who stays out is disabled, and then nothing waits
        server.app().access.disable_user(&operator(), bob.id).await.unwrap();
        assert!(!page(server).await.contains("restored"));
        assert_eq!(sign_in(server, "bob", PASSWORD).await.unwrap_err().detail, "name or password is wrong");
        assert_eq!(reconcile(server, &["bob"]).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(status(server, &bob).await, "disabled");
        backup.remove().await;
    }

    async fn the_last_administrator_who_works_stays_one(server) {
        let (alice, bob) = (create(server, "alice", Role::Admin).await, create(server, "bob", Role::Admin).await);
        let backup = server.backup().await;
        server.app().access.disable_user(&operator(), bob.id).await.unwrap();
        server.restore(&backup).await;
        reconcile(server, &["alice"]).await.unwrap();
        // bob is an administrator who may not sign in
        let refused = server.app().access.disable_user(&operator(), alice.id).await.unwrap_err();
        assert_eq!(refused.rule.unwrap().name, "user.last_admin");
        server.app().access.disable_user(&operator(), bob.id).await.unwrap();
        assert_eq!(status(server, &bob).await, "disabled");
        backup.remove().await;
    }
}
