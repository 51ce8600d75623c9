//! Names that a new issuer is to permit are compared with what the CAs above it allow, and an issuer whose own path ends
//! at a root that clients do not trust signs nothing.

use chancery::authority::Authority;
use chancery::authority::hierarchy::import::{Import, fingerprint};
use chancery::authority::hierarchy::plan::Wanted;
use chancery::error::Result;
use chancery::model::issuer::IssuerMove;
use chancery::pki::constraint_list::ConstraintList;

use super::corporate::{Ca, Shape};
use super::{actor, issue, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

const NAME_CONSTRAINTS: &str = "2.5.29.30";

async fn take(authority: &Authority, domain: &str, ca: &Ca, above: &[&Ca]) -> Result<String> {
    let certificates = std::iter::once(ca).chain(above.iter().copied()).map(Ca::der).collect();
    let import =
        Import { domain: domain.into(), name: None, certificates, key: ca.pkcs8(), status_url: None, crl: None };
    authority.import_issuer(&actor(), import).await
}

fn constrained(permit: &[&str], exclude: &[&str]) -> Shape {
    let texts = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let value = ConstraintList::parse(&texts(permit), &texts(exclude)).unwrap().unwrap().der();
    Shape { more: vec![(NAME_CONSTRAINTS, true, value)], ..Shape::default() }
}

fn permitting(names: &[&str], exclude: &[&str]) -> Wanted {
    let texts = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Wanted { permit: texts(names), exclude: texts(exclude), ..wanted("lab") }
}

on_both_engines! {
    async fn a_permit_that_a_ca_above_forbids_is_refused_by_its_name(at) {
        let (authority, _) = founded(&at.store).await;
        let shape = constrained(&["lab.example", "10.0.0.0/8", "@lab.example"], &["secret.lab.example", "10.9.0.0/16"]);
        take(&authority, "lab", &Ca::root("Corporate Root", &shape), &[]).await.unwrap();
        for (permit, exclude) in [
            ("evil.example", None),
            ("secret.lab.example", None),
            ("x.secret.lab.example", None),
            ("192.0.2.0/24", None),
            ("10.9.8.0/24", None),
            ("fd00::/8", None),
            ("@evil.example", None),
            ("spiffe://lab.example", None),
            ("a.lab.example", Some("lab.example")),
        ] {
            let exclude: Vec<_> = exclude.into_iter().collect();
            let refused = authority.create_issuer(&actor(), &permitting(&[permit], &exclude), Some("lab-root")).await;
            let error = refused.unwrap_err();
            assert_eq!(error.rule.unwrap().name, "issuer.name_constraints", "{permit}");
            assert!(!exclude.is_empty() || error.detail.contains("root Corporate Root"), "{}", error.detail);
            // one that is forbidden beside one that is not
            let both = permitting(&[permit, "b.lab.example"], &exclude);
            assert!(authority.create_issuer(&actor(), &both, Some("lab-root")).await.is_err(), "{permit}");
        }
        // what lies partly inside is taken, and what remains is said
        for (permit, remains) in [
            (&["example"][..], vec!["lab.example"]),
            (&["a.lab.example", "10.8.0.0/15"], vec!["a.lab.example", "10.8.0.0/15"]),
            (&["0.0.0.0/0"], vec!["10.0.0.0/8"]),
            (&["ann@lab.example"], vec!["ann@lab.example"]),
        ] {
            let slug = authority.create_issuer(&actor(), &permitting(permit, &[]), Some("lab-root")).await.unwrap();
            assert_eq!(authority.snapshot().issuer(&slug).unwrap().path.permitted_names(), remains, "{permit:?}");
        }
    }

    async fn excluded_networks_that_together_cover_a_permitted_one_are_refused(at) {
        let (authority, _) = founded(&at.store).await;
        let shape = constrained(&[], &["10.0.0.0/9", "fd00::/9"]);
        let root = Ca::root("Corporate Root", &shape);
        take(&authority, "lab", &root, &[]).await.unwrap();
        let create = async |permit: &[&str], exclude: &[&str]| {
            authority.create_issuer(&actor(), &permitting(permit, exclude), Some("lab-root")).await
        };
        // of one CA, and of the new one with the root together
        assert_eq!(rule(create(&["192.0.2.0/24"], &["192.0.2.0/25", "192.0.2.128/26", "192.0.2.192/26"]).await), "issuer.name_constraints");
        assert_eq!(rule(create(&["10.0.0.0/8"], &["10.128.0.0/10", "10.192.0.0/10"]).await), "issuer.name_constraints");
        assert_eq!(rule(create(&["fd00::/8"], &["fd80::/9"]).await), "issuer.name_constraints");
        // one address is left
        let halves = ["192.0.2.0/25", "192.0.2.128/26", "192.0.2.192/27", "192.0.2.224/28", "192.0.2.240/29",
            "192.0.2.248/30", "192.0.2.252/31", "192.0.2.254/32"];
        create(&["192.0.2.0/24"], &halves).await.unwrap();
        create(&["10.0.0.0/8"], &["10.128.0.0/10"]).await.unwrap();
        // an imported CA too
        let covered = root.below("Covered", &constrained(&["192.0.2.0/24"], &["192.0.2.0/25", "192.0.2.128/25"]));
        assert_eq!(rule(take(&authority, "lab", &covered, &[&root]).await), "issuer.name_constraints");
    }

    async fn an_imported_ca_that_may_sign_none_of_its_names_is_refused(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &constrained(&["lab.example"], &[]));
        let outside = root.below("Outside", &constrained(&["evil.example"], &[]));
        assert_eq!(rule(take(&authority, "lab", &outside, &[&root]).await), "issuer.name_constraints");
        let partly = root.below("Partly", &constrained(&["evil.example", "a.lab.example"], &[]));
        take(&authority, "lab", &partly, &[&root]).await.unwrap();
        assert!(issue(&authority, "lab-server", None, &["x.a.lab.example"]).await.is_ok());
        // the same for a certificate that answers a request
        let request = authority.request_issuer(&actor(), &wanted("lab"), None).await.unwrap();
        let csr = openssl::x509::X509Req::from_der(&request.csr).unwrap();
        let signed = root.sign(csr.subject_name(), &csr.public_key().unwrap(), &constrained(&["evil.example"], &[]));
        let answer = authority.install_issuer(&actor(), &[signed.to_der().unwrap(), root.der()]).await;
        assert_eq!(rule(answer), "issuer.name_constraints");
    }

    async fn an_issuer_of_a_constrained_domain_is_constrained_unless_it_is_told_otherwise(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &permitting(&["lab.example"], &["secret.lab.example"])).await.unwrap();
        let permitted = |slug: &str| authority.snapshot().issuer(slug).unwrap().path.permitted_names();
        let second = authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await.unwrap();
        assert_eq!(permitted(&second), ["lab.example"]);
        authority.move_issuer(&actor(), &second, IssuerMove::MakeDefault).await.unwrap();
        let signed = async |name: &str| issue(&authority, "lab-server", None, &[name]).await;
        assert_eq!(signed("a.lab.example").await.unwrap().certificate.issuer, second);
        assert_eq!(rule(signed("a.other.example").await), "issuer.name_constraints");
        assert_eq!(rule(signed("a.secret.lab.example").await), "issuer.name_constraints");
        // below a new root too
        let root = authority.create_root(&actor(), &wanted("lab")).await.unwrap();
        let third = authority.create_issuer(&actor(), &wanted("lab"), Some(&root)).await.unwrap();
        assert_eq!(permitted(&third), ["lab.example"]);
        // other constraints and none are taken when they are asked for; then there is no common one to take
        let free = Wanted { unconstrained: true, ..wanted("lab") };
        let both = Wanted { unconstrained: true, ..permitting(&["a.lab.example"], &[]) };
        assert_eq!(authority.create_issuer(&actor(), &both, Some("lab-root")).await.unwrap_err().kind, chancery::error::ErrorKind::Malformed);
        let narrow = authority.create_issuer(&actor(), &permitting(&["a.lab.example"], &[]), Some("lab-root")).await.unwrap();
        assert_eq!(permitted(&narrow), ["a.lab.example"]);
        let refused = authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await.unwrap_err();
        assert!(refused.detail.contains("constrained to different names") && refused.detail.contains("--unconstrained"), "{}", refused.detail);
        let open = authority.create_issuer(&actor(), &free, Some("lab-root")).await.unwrap();
        assert_eq!(permitted(&open), Vec::<String>::new());
        let more = authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await.unwrap();
        assert_eq!(permitted(&more), Vec::<String>::new());
    }

    async fn an_issuer_under_a_root_that_no_bundle_holds_signs_nothing(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape::default());
        assert_eq!(rule(take(&authority, "lab", &issuing, &[&root]).await), "issuer.root");
        authority.add_anchor(&actor(), "lab", &root.der()).await.unwrap();
        assert_eq!(take(&authority, "lab", &issuing, &[&root]).await.unwrap(), "lab-2");
        let named = |slug: &str| authority.snapshot().named_signer(slug, "lab", "lab-server", at.store.now()).map(|_| ());
        named("lab-2").unwrap();
        authority.create_domain(&actor(), &wanted("other")).await.unwrap();
        let depends = authority.anchor_dependents("lab", &fingerprint(&root.der())).await.unwrap();
        assert_eq!((depends.issuers.as_slice(), depends.only_here.as_slice()), (&["lab-2".to_owned()][..], &["lab-2".to_owned()][..]));
        assert_eq!(depends.valid_certificates, 0);
        let refused = authority.anchor_dependents("other", &fingerprint(&root.der())).await.unwrap_err();
        assert_eq!(refused.kind, chancery::error::ErrorKind::NotFound);
        authority.remove_anchor(&actor(), "lab", &fingerprint(&root.der())).await.unwrap();
        let refused = named("lab-2").unwrap_err();
        assert!(refused.detail.contains("Corp Root, which clients of its trust domain do not trust"), "{}", refused.detail);
        // it takes nothing over in silence
        authority.move_issuer(&actor(), "lab-1", IssuerMove::Retire).await.unwrap();
        assert_eq!(rule(issue(&authority, "lab-server", None, &["a.lab.example"]).await), "profile.domain");
        assert!(authority.snapshot().default_signer("lab", at.store.now()).is_none());
        authority.move_issuer(&actor(), "lab-2", IssuerMove::Retire).await.unwrap();
        let refused = authority.move_issuer(&actor(), "lab-2", IssuerMove::Activate).await.unwrap_err();
        assert!(refused.detail.contains("chancery ca anchor add lab FILE"), "{}", refused.detail);
    }

    async fn the_servers_root_is_the_one_above_its_own_certificate(at) {
        let (authority, _) = founded(&at.store).await;
        let own = roots(&authority, "tls").remove(0);
        let foreign = Ca::root("A Root Of Others", &Shape::default());
        authority.add_anchor(&actor(), "tls", &foreign.der()).await.unwrap();
        assert_eq!((roots(&authority, "tls").len(), authority.own_root()), (2, Some(own.clone())));
        // nobody signs: the certificate that the server has still stands under its root
        authority.move_issuer(&actor(), "tls-1", IssuerMove::Retire).await.unwrap();
        assert_eq!(authority.own_root(), Some(own));
        for step in [IssuerMove::Remove, IssuerMove::Retire, IssuerMove::Remove] {
            authority.move_issuer(&actor(), "tls-1", step).await.unwrap();
        }
        for step in [IssuerMove::Retire, IssuerMove::Remove] {
            authority.move_issuer(&actor(), "tls-root", step).await.unwrap();
        }
        assert_eq!((roots(&authority, "tls"), authority.own_root()), (vec![foreign.der()], None), "never that of others");
    }
}
