//! One seeded week: time passes in steps, something goes wrong in most of them, and after each everything is compared
//! with what clients were told.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chancery::authority::reconcile::ReconcileRequest;
use chancery::clock::{Clock, ManualClock, Timestamp, days, hours};
use chancery::entropy::SeededEntropy;
use chancery::model::actor::Actor;
use chancery::server::listen::Addresses;
use chancery::server::{open, running};
use openssl::x509::X509;
use serde_json::json;

use crate::acme::{KEY_NAME, ZONE};
use crate::acme_key;
use crate::client::{Answer, CERTIFICATES, get, post};
use crate::compare;
use crate::dice::Dice;
use crate::model::{Model, Standing, Wish};
use crate::node::{Call, Node};
use crate::place::{Backup, NAME, Place, START, Template};
use crate::status::{Said, Verifier};
use crate::trouble::Trouble;

/// A key is kept for a day; clients stop a little before.
const REPEATED_FOR: Duration = hours(23);

pub struct Week<'t> {
    template: &'t Template,
    seed: u64,
    pub dice: Dice,
    pub place: Option<Place>,
    pub nodes: Vec<Option<Node>>,
    clocks: Vec<ManualClock>,
    pub model: Model,
    pub verifier: Option<Verifier>,
    backup: Option<(Backup, u64)>,
    story: Vec<String>,
    starts: u64,
    made: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    steps: u64,
    kills: u64,
    restores: u64,
    noticed: u64,
}

/// What a request is for.
enum Purpose {
    Issue(usize),
    Revoke(usize),
    Read(usize),
}

impl<'t> Week<'t> {
    pub fn new(template: &'t Template, seed: u64) -> Week<'t> {
        let first = ManualClock::at(START);
        let clocks = (0..template.engine().servers())
            .map(|server| if server == 0 { first.clone() } else { first.of_another_machine() });
        Week {
            template,
            seed,
            dice: Dice::of_seed(seed),
            place: Some(template.copied()),
            nodes: Vec::new(),
            clocks: clocks.collect(),
            model: Model::default(),
            verifier: None,
            backup: None,
            story: Vec::new(),
            starts: 0,
            made: 0,
            counts: Counts::default(),
        }
    }

    pub fn live(&mut self) {
        for server in 0..self.clocks.len() {
            self.nodes.push(None);
            self.start(server);
        }
        self.calm();
        self.verifier = Some(Verifier::fetch(self.node(0)));
        while self.now() < START + days(7) {
            self.step();
        }
        self.tell("everything comes to rest");
        self.rest();
    }

    // ---- what the other files use

    pub fn now(&self) -> Timestamp {
        self.clocks[0].database_time().expect("a clock that tests move")
    }

    pub fn node(&self, server: usize) -> &Node {
        self.nodes[server].as_ref().expect("it was started")
    }

    pub fn token(&self) -> &str {
        &self.template.token
    }

    pub fn some_server(&mut self) -> usize {
        self.dice.below(self.nodes.len())
    }

    pub fn tell(&mut self, what: impl Into<String>) {
        self.story.push(format!("{} {}", self.now(), what.into()));
    }

    /// The end of what happened.
    pub fn story(&self, lines: usize) -> Vec<String> {
        self.story[self.story.len().saturating_sub(lines)..].to_vec()
    }

    pub fn summary(&self) -> String {
        let revoked = self.model.known.iter().filter(|known| known.standing == Standing::Revoked).count();
        let Counts { steps, kills, restores, noticed } = &self.counts;
        format!(
            "{steps} steps, {} certificates, {revoked} revoked, {kills} kills, {restores} restores of which {noticed} were noticed",
            self.model.known.len()
        )
    }

    pub fn end(mut self) {
        for node in self.nodes.drain(..).flatten() {
            node.stop(self.place.as_ref().expect("until the end"));
        }
        self.remove();
    }

    /// After a failure: the servers may be in any state.
    pub fn give_up(mut self) {
        for node in self.nodes.drain(..).flatten() {
            node.kill(self.place.as_ref().expect("until the end"));
        }
        self.remove();
    }

    fn remove(mut self) {
        if let Some((backup, _)) = self.backup.take() {
            backup.remove();
        }
        if let Some(place) = self.place.take() {
            place.remove();
        }
    }

    // ---- the steps

    fn step(&mut self) {
        self.counts.steps += 1;
        let by = match self.dice.below(10) {
            0..4 => Duration::from_secs(1 + self.dice.below(300) as u64),
            _ => Duration::from_secs(3_600 + self.dice.below(8 * 3_600) as u64),
        };
        self.clocks[0].advance(by);
        let trouble = Trouble::drawn(&mut self.dice, self.backup.is_some());
        let server = self.some_server();
        self.tell(format!("step {}: {trouble:?} at server {server}", self.counts.steps));
        match trouble {
            Trouble::Restart => self.restart(server),
            Trouble::Backup => self.back_up(),
            Trouble::Restore => self.restore(),
            Trouble::Clock(seconds) => self.wrong_clock(server, seconds),
            _ => self.troubled(server, trouble),
        }
        self.calm();
        compare::look(self);
    }

    /// Requests and periodic work while something goes wrong.
    fn troubled(&mut self, server: usize, trouble: Trouble) {
        if self.dice.below(2) == 0 {
            self.turn_all();
        }
        let node = self.nodes[server].as_ref().expect("it was started");
        trouble.plan(&mut self.dice, node.faults());
        for _ in 0..=self.dice.below(3) {
            let outcome = match self.dice.below(5) {
                0 => self.turn(server),
                1 => self.acme(server, trouble),
                _ => self.batch(server, trouble),
            };
            if outcome.is_err() {
                break;
            }
        }
    }

    /// Ends what goes wrong and lets the periodic work run once: it must succeed.
    fn calm(&mut self) {
        for server in 0..self.nodes.len() {
            let node = self.node(server);
            let left = node.faults().clear();
            if node.settle().is_err() {
                self.tell(format!("server {server} was killed ({left} faults were left)"));
                self.kill(server);
                self.start(server);
            }
        }
        self.turn_all();
    }

    fn turn_all(&mut self) {
        // replicas that stood still see each other's clocks after two measurements
        for _ in 0..self.nodes.len() {
            for server in 0..self.nodes.len() {
                let failed = self.node(server).every_turn();
                assert!(failed.is_empty(), "periodic work failed though nothing was wrong: {failed:?}");
            }
        }
        self.model.remember();
    }

    /// Err: the server was killed meanwhile.
    fn turn(&mut self, server: usize) -> Result<(), ()> {
        let outcome = self.node(server).turn();
        match outcome {
            Ok(failed) => {
                if !failed.is_empty() {
                    self.tell(format!("periodic work of server {server} failed: {}", failed.join("; ")));
                }
                Ok(())
            }
            Err(_) => Err(()),
        }
    }

    fn start(&mut self, server: usize) {
        self.starts += 1;
        let chance = self.seed.wrapping_mul(1_000_003).wrapping_add(self.starts);
        let place = self.place.as_ref().expect("until the end");
        let node = Node::open(place, server, &self.clocks[server], chance);
        self.nodes[server] =
            Some(node.unwrap_or_else(|error| panic!("server {server} does not start: {}", error.chain())));
    }

    fn kill(&mut self, server: usize) {
        self.counts.kills += 1;
        if let Some(node) = self.nodes[server].take() {
            node.kill(self.place.as_ref().expect("until the end"));
        }
    }

    fn stop(&mut self, server: usize) {
        if let Some(node) = self.nodes[server].take() {
            node.stop(self.place.as_ref().expect("until the end"));
        }
    }

    fn restart(&mut self, server: usize) {
        self.stop(server);
        self.start(server);
    }

    // ---- requests

    /// A few requests at once.
    fn batch(&mut self, server: usize, trouble: Trouble) -> Result<(), ()> {
        let (mut purposes, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..=self.dice.below(4) {
            let (purpose, request) = self.draw_request();
            let patience = (trouble == Trouble::Clients).then(|| self.dice.below(40));
            purposes.push(purpose);
            calls.push(Call { request, patience });
        }
        let (answers, outcome) = self.node(server).ask_all(calls);
        // of two that revoke one certificate the second is told of the first
        let mut answered: Vec<_> = purposes.into_iter().zip(answers).collect();
        answered.sort_by_key(|(_, answer)| answer.as_ref().is_some_and(|answer| answer.status == 409));
        for (purpose, answer) in answered {
            self.judge(server, purpose, answer, trouble == Trouble::None);
        }
        outcome.map_err(drop)
    }

    fn draw_request(&mut self) -> (Purpose, Request<Body>) {
        let now = self.now();
        let token = self.token().to_owned();
        let valid: Vec<usize> = (0..self.model.known.len()).filter(|at| self.may_revoke(*at)).collect();
        let repeatable = |wish: &Wish| !wish.over && now < wish.sent_at + REPEATED_FOR;
        let repeated: Vec<usize> =
            (0..self.model.wishes.len()).filter(|at| repeatable(&self.model.wishes[*at])).collect();
        match self.dice.below(10) {
            0..3 if !valid.is_empty() => {
                let at = *self.dice.of(&valid);
                let path = format!("{CERTIFICATES}/{}/revocation", self.model.known[at].id);
                (Purpose::Revoke(at), post(&token, &path, None, "{\"reason\":\"superseded\"}"))
            }
            3..5 if !repeated.is_empty() => {
                let at = *self.dice.of(&repeated);
                (Purpose::Issue(at), self.request_of(at))
            }
            5 if !valid.is_empty() => {
                let at = *self.dice.of(&valid);
                (Purpose::Read(at), get(&token, &format!("{CERTIFICATES}/{}", self.model.known[at].id)))
            }
            _ => {
                let at = self.wish();
                (Purpose::Issue(at), self.request_of(at))
            }
        }
    }

    fn may_revoke(&self, at: usize) -> bool {
        let known = &self.model.known[at];
        known.standing != Standing::Revoked && !known.perhaps_lost
    }

    fn request_of(&self, wish: usize) -> Request<Body> {
        let wish = &self.model.wishes[wish];
        post(self.token(), CERTIFICATES, Some(&wish.key), &wish.body)
    }

    /// A request for a certificate of a new name: with a key of the client or one that the server makes.
    pub fn wish(&mut self) -> usize {
        self.made += 1;
        let name = format!("h{}.rest.example", self.made);
        let body = match self.dice.below(2) {
            0 => json!({"names": [name], "profile": "tls-server", "ttl": "30d"}),
            _ => {
                let (der, _) = acme_key::csr(&[&name]);
                let csr = openssl::x509::X509Req::from_der(&der).unwrap().to_pem().unwrap();
                json!({"csr": String::from_utf8(csr).unwrap(), "profile": "tls-server", "ttl": "30d"})
            }
        };
        self.model.names.insert(name.clone());
        let (key, sent_at) = (format!("key-{}", self.made), self.now());
        self.model.wishes.push(Wish { key, body: body.to_string(), name, sent_at, answer: None, over: false });
        self.model.wishes.len() - 1
    }

    /// Compares an answer with what may be said. `calm`: nothing is wrong with the server.
    fn judge(&mut self, server: usize, purpose: Purpose, answer: Option<Answer>, calm: bool) {
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        let told = answer.as_ref().map_or("no answer".to_owned(), |answer| answer.told().chars().take(160).collect());
        assert!(status < 500 || status == 503, "a fault of the server: {told}");
        let refused = status == 503;
        match purpose {
            Purpose::Issue(at) => {
                let name = self.model.wishes[at].name.clone();
                self.tell(format!("issue {name}: {}", if status == 201 { "201" } else { &told }));
                match (status, answer) {
                    (201, Some(answer)) => self.issued(at, &answer),
                    // another attempt is under way; at rest there is none
                    (409, _) => {}
                    (0 | 503, _) if !calm => {}
                    _ => panic!("issuing {name} is answered {told}"),
                }
            }
            Purpose::Revoke(at) => {
                let id = self.model.known[at].id.clone();
                self.tell(format!("revoke {id}: {}", if status == 201 { "201" } else { &told }));
                match status {
                    201 => {
                        self.model.revoked(at);
                        compare::is_not_good(self, server, at);
                    }
                    409 if self.model.known[at].standing != Standing::Valid => self.model.revoked(at),
                    0 | 503 if !calm => {
                        // of two at once the other may have been answered
                        if self.model.known[at].standing != Standing::Revoked {
                            self.model.known[at].standing = Standing::PerhapsRevoked;
                        }
                    }
                    _ => panic!("revoking {id} is answered {told}"),
                }
            }
            Purpose::Read(at) => {
                if let Some(answer) = answer.filter(|_| !refused) {
                    compare::same_bytes(self, at, &answer);
                }
                assert!(!calm || status == 200, "reading a certificate is answered {told}");
            }
        }
    }

    /// A certificate was acknowledged. The same Idempotency-Key gives the same one.
    pub fn issued(&mut self, wish: usize, answer: &Answer) {
        let certificate = X509::from_pem(answer.text("certificate").as_bytes()).expect("a certificate in PEM");
        if let Some(verifier) = &self.verifier {
            assert!(verifier.signed(&certificate), "OpenSSL verifies the certificate of {}", answer.text("id"));
        }
        let (der, name) = (certificate.to_der().unwrap(), self.model.wishes[wish].name.clone());
        let at = self.model.given(answer.text("id"), answer.text("serial"), name, der);
        let before = self.model.wishes[wish].answer.replace(at);
        let same = before.is_none_or(|before| before == at);
        assert!(same, "Idempotency-Key {} gave two certificates", self.model.wishes[wish].key);
    }

    /// One certificate by ACME, or its revocation.
    fn acme(&mut self, server: usize, trouble: Trouble) -> Result<(), ()> {
        let zone = format!(".{ZONE}");
        let own = |week: &Self, at: usize| week.may_revoke(at) && week.model.known[at].name.ends_with(&zone);
        let known: Vec<usize> = (0..self.model.known.len()).filter(|at| own(self, *at)).collect();
        let router = self.node(server).router();
        let calm = trouble == Trouble::None;
        if self.dice.below(3) == 0 && !known.is_empty() {
            let at = *self.dice.of(&known);
            let der = self.model.known[at].der.clone();
            let outcome = self.node(server).run(self.template.identity.revoke(&router, &der));
            let status = outcome.as_ref().map_or(0, |answer| answer.status);
            self.tell(format!("revoke {} by ACME: {status}", self.model.known[at].id));
            match status {
                200 => {
                    self.model.revoked(at);
                    compare::is_not_good(self, server, at);
                }
                400 if self.model.known[at].standing != Standing::Valid => self.model.revoked(at),
                0 | 503 if !calm => self.model.known[at].standing = Standing::PerhapsRevoked,
                _ => panic!("revoking by ACME is answered {}", outcome.map_or(String::new(), |a| a.told())),
            }
            return outcome.map(drop).map_err(drop);
        }
        self.made += 1;
        let name = format!("h{}{zone}", self.made);
        self.model.names.insert(name.clone());
        let outcome = self.node(server).run(self.template.identity.obtain(&router, &name));
        match outcome {
            Ok(Ok(der)) => {
                self.tell(format!("{name} by ACME: it is given"));
                let certificate = X509::from_der(&der).unwrap();
                let serial = certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
                // the id is known to REST alone
                let path = format!("{CERTIFICATES}?serial={serial}");
                let Ok(answer) = self.node(server).ask(get(self.token(), &path)) else { return Err(()) };
                if answer.status == 200 {
                    let id = answer.json()["items"][0]["id"].as_str().map(str::to_owned);
                    let id = id.unwrap_or_else(|| panic!("the certificate of {name} is not listed by its serial"));
                    self.model.given(id, serial, name, der);
                }
                Ok(())
            }
            Ok(Err(answer)) => {
                let told = answer.told();
                self.tell(format!("{name} by ACME: {told}"));
                assert!(!calm, "ACME refuses though nothing is wrong: {told}");
                assert!(answer.status < 500 || answer.status == 503, "a fault of the server: {told}");
                Ok(())
            }
            Err(_) => Err(()),
        }
    }

    // ---- clocks and restores

    /// Nothing is signed by a server whose clock is wrong.
    fn wrong_clock(&mut self, server: usize, seconds: i64) {
        self.turn_all();
        self.clocks[server].jump(seconds);
        let _ = self.turn(server);
        let before = compare::crl_number(self, server);
        for _ in 0..2 {
            let at = self.wish();
            let answer = self.node(server).ask(self.request_of(at)).expect("nothing kills it");
            assert_eq!(answer.status, 503, "a server whose clock is {seconds} s wrong issues: {}", answer.told());
            self.model.wishes[at].over = true;
            let _ = self.turn(server);
        }
        assert_eq!(compare::crl_number(self, server), before, "a server whose clock is wrong publishes a CRL");
        self.clocks[server].jump(-seconds);
    }

    fn back_up(&mut self) {
        self.turn_all();
        // what clients fetch later is in the backup
        (0..self.nodes.len()).for_each(|server| compare::lists(self, server));
        (0..self.nodes.len()).for_each(|server| self.stop(server));
        let place = self.place.as_ref().expect("until the end");
        let backup = place.backup();
        if let Some((old, _)) = self.backup.replace((backup, self.model.mark())) {
            old.remove();
        }
        (0..self.nodes.len()).for_each(|server| self.start(server));
    }

    /// The database of the backup takes the place of the newer one; the data directories stay.
    fn restore(&mut self) {
        self.counts.restores += 1;
        let Some((backup, mark)) = self.backup.take() else { return };
        let killed = self.dice.below(2) == 0;
        for server in 0..self.nodes.len() {
            if killed { self.kill(server) } else { self.stop(server) }
        }
        self.place.as_ref().expect("until the end").put_back(&backup);
        let must = self.model.must_notice(mark);
        self.model.went_back(mark);
        (0..self.nodes.len()).for_each(|server| self.start(server));
        for server in 0..self.nodes.len() {
            let _ = self.turn(server);
        }
        let noticed = (0..self.nodes.len()).all(|server| self.node(server).app().store.rollback().is_some());
        self.tell(format!("restored; it must be noticed: {must}, it is: {noticed}"));
        assert!(noticed || !must, "nobody noticed that the database is older than what clients were told");
        if noticed {
            self.counts.noticed += 1;
            self.rolled_back();
        }
        self.backup = Some((backup, mark));
    }

    /// Nothing is signed and nobody is told "good", until an operator reconciles.
    fn rolled_back(&mut self) {
        for server in 0..self.nodes.len() {
            let at = self.wish();
            let answer = self.node(server).ask(self.request_of(at)).expect("nothing kills it");
            // the token may have been revoked since the backup: it is suspended
            assert!([401, 503].contains(&answer.status), "a rolled back CA issues: {}", answer.told());
            self.model.wishes[at].over = true;
            for at in 0..self.model.known.len().min(4) {
                let der = self.model.known[at].der.clone();
                let said = self.verifier.as_ref().expect("fetched at the start").ocsp(self.node(server), &der);
                assert_ne!(said, Ok(Said::Good), "a rolled back CA says good");
            }
            compare::lists(self, server);
        }
        let confirm = vec![NAME.to_owned(), KEY_NAME.to_owned()];
        for request in [ReconcileRequest::default(), ReconcileRequest { confirm, ..ReconcileRequest::default() }] {
            self.reconcile(&request);
        }
        for server in 0..self.nodes.len() {
            self.node(server).app().access.forget();
        }
        self.turn_all();
    }

    /// As `chancery reconcile` does on the host of the first server.
    fn reconcile(&mut self, request: &ReconcileRequest) {
        self.starts += 1;
        let place = self.place.as_ref().expect("until the end");
        let (config, clock) = (place.config(0), std::sync::Arc::new(self.clocks[0].clone()));
        let entropy = std::sync::Arc::new(SeededEntropy::new(self.seed.wrapping_mul(1_000_003) + self.starts));
        let done = self.node(0).run(async {
            let store = open::open_store(&config, clock, entropy).await?;
            let opened = open::open_existing(&config, store).await?;
            let addresses = Addresses::configured(&config);
            let app = running::app(&config, opened, running::urls(&config, &addresses), &addresses).await?;
            let done = app.authority.reconcile(&Actor::host(0, NAME), request).await;
            app.store.db.close().await;
            done
        });
        let done = done.expect("nothing kills it").unwrap_or_else(|error| panic!("reconcile: {}", error.chain()));
        self.tell(format!("reconciled: epoch {:?}, {} confirmed", done.epoch, done.confirmed.len()));
    }

    // ---- the end

    /// Nothing goes wrong any more: everything that is left over ends, and everything works.
    fn rest(&mut self) {
        self.clocks[0].advance(Duration::from_secs(300));
        self.turn_all();
        self.clocks[0].advance(Duration::from_secs(300));
        self.turn_all();
        for server in 0..self.nodes.len() {
            let at = self.wish();
            let answer = self.node(server).ask(self.request_of(at)).expect("nothing kills it");
            self.judge(server, Purpose::Issue(at), Some(answer), true);
            let known = self.model.wishes[at].answer.expect("it was issued");
            let path = format!("{CERTIFICATES}/{}/revocation", self.model.known[known].id);
            let answer = self.node(server).ask(post(self.token(), &path, None, "{}")).expect("nothing kills it");
            self.judge(server, Purpose::Revoke(known), Some(answer), true);
            self.acme(server, Trouble::None).expect("nothing kills it");
        }
        // what was asked for and not answered is answered now
        let now = self.now();
        for at in 0..self.model.wishes.len() {
            let wish = &self.model.wishes[at];
            if !wish.over && now < wish.sent_at + REPEATED_FOR {
                let server = self.some_server();
                let answer = self.node(server).ask(self.request_of(at)).expect("nothing kills it");
                assert_eq!(answer.status, 201, "at rest a request is answered: {}", answer.told());
                self.judge(server, Purpose::Issue(at), Some(answer), true);
            }
        }
        self.turn_all();
        compare::everything(self);
        compare::no_intents(self);
    }
}
