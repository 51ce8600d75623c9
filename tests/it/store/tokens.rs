//! Tokens on both engines.

use chancery::clock::{Timestamp, days, minutes};
use chancery::error::ErrorKind;
use chancery::model::actor::{Actor, Role};
use chancery::model::grant::{Grant, Scope};
use chancery::model::id::{GrantId, TokenId};
use chancery::model::token::Token;
use chancery::store::{Store, grants, guards, tokens};
use futures_util::future::join_all;

use crate::support::rows::open_grant;

crate::on_both_engines! {
    async fn a_token_comes_back_with_the_scope_of_its_grant(at) {
        let scope = Scope { profiles: vec!["tls-server".into()], ..Scope::default() };
        let grant = grant(&at.store, scope.clone()).await;
        let made = Token { grant_id: Some(grant), scope: Some(scope), ..token(&at.store) };
        tokens::insert(&at.store, &made, &[1; 32]).await.unwrap();
        assert_eq!(tokens::find(&at.store, made.id).await.unwrap().as_ref(), Some(&made));
        assert_eq!(tokens::find_by_secret(&at.store, &[1; 32]).await.unwrap().as_ref(), Some(&made));
        assert_eq!(tokens::find_by_secret(&at.store, &[2; 32]).await.unwrap(), None);
        let again = tokens::insert(&at.store, &token(&at.store), &[1; 32]).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::Conflict, "a secret is one token's");
        // one whose grant is gone must not become a token without bounds
        at.sql("DELETE FROM grants").await;
        assert_eq!(tokens::find(&at.store, made.id).await.unwrap_err().kind, ErrorKind::Inconsistent);
    }

    async fn a_token_is_revoked_once_and_issues_nothing_after(at) {
        let made = token(&at.store);
        tokens::insert(&at.store, &made, &[1; 32]).await.unwrap();
        let now = at.store.now();
        assert!(guards::token_alive(&at.store, made.id, now).await.unwrap());
        assert!(!guards::token_alive(&at.store, made.id, made.expires_at).await.unwrap());
        let ends = join_all((0..6).map(|_| revoke(&at.store, made.id, now))).await;
        assert_eq!(ends.into_iter().filter(|e| *e.as_ref().unwrap()).count(), 1);
        assert!(!guards::token_alive(&at.store, made.id, now).await.unwrap());
        assert_eq!(tokens::find(&at.store, made.id).await.unwrap().unwrap().revoked_at, Some(now));
        assert!(!revoke(&at.store, TokenId::from_bytes([1; 16]), now).await.unwrap());
    }

    async fn the_last_use_only_moves_forward(at) {
        let made = token(&at.store);
        tokens::insert(&at.store, &made, &[1; 32]).await.unwrap();
        let now = at.store.now();
        let uses = (0..6).map(|n| tokens::used(&at.store, made.id, now + minutes(n % 4)));
        join_all(uses).await.into_iter().for_each(|used| used.unwrap());
        assert_eq!(tokens::find(&at.store, made.id).await.unwrap().unwrap().last_used_at, Some(now + minutes(3)));
    }

    async fn tokens_are_listed_newest_first_page_by_page(at) {
        let mut ids = Vec::new();
        for n in 0..7u8 {
            let made = token(&at.store);
            tokens::insert(&at.store, &made, &[n; 32]).await.unwrap();
            ids.insert(0, made.id);
            at.clock.advance(minutes(1));
        }
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = tokens::page(&at.store, before, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            listed.extend(page.iter().map(|t| t.id));
        }
        assert_eq!(listed, ids);
    }
}

fn token(store: &Store) -> Token {
    Token {
        id: TokenId::new(store.now(), store.entropy.as_ref()).unwrap(),
        name: "ci".into(),
        role: Role::Requester,
        grant_id: None,
        scope: None,
        created_by: "system/test".into(),
        created_at: store.now(),
        expires_at: store.now() + days(90),
        revoked_at: None,
        suspended_at: None,
        last_used_at: None,
    }
}

async fn grant(store: &Store, scope: Scope) -> GrantId {
    let id = GrantId::new(store.now(), store.entropy.as_ref()).unwrap();
    let grant = Grant { id, scope, created_at: store.now(), ..open_grant(0) };
    grants::insert(store, &grant).await.unwrap();
    id
}

async fn revoke(store: &Store, id: TokenId, at: Timestamp) -> chancery::error::Result<bool> {
    let mut tx = store.begin(&Actor::system("test")).await?;
    let revoked = tokens::revoke(&mut tx, id, at).await?;
    tx.commit().await.map(|()| revoked)
}
