//! The routes of the listeners with their usual method, so that the series of each stands at zero before its first
//! request. Those of REST come from its document; a test asks for each of the others.

use crate::api;

const STATUS: &[(&str, &str)] = &[
    ("/root.pem", "GET"),
    ("/root.der", "GET"),
    ("/bundles/{file}", "GET"),
    ("/issuers/{file}", "GET"),
    ("/issuers/{issuer}/chain.pem", "GET"),
    ("/crl/{file}", "GET"),
    ("/ocsp/{issuer}", "POST"),
    ("/ocsp/{issuer}/{*request}", "GET"),
    ("/livez", "GET"),
    ("/readyz", "GET"),
    ("/readyz/status", "GET"),
    ("/version", "GET"),
    (UNMATCHED, "GET"),
];

const SECURE: &[(&str, &str)] = &[
    ("/acme/{directory}/directory", "GET"),
    ("/acme/{directory}/new-nonce", "HEAD"),
    ("/acme/{directory}/new-nonce", "GET"),
    ("/acme/{directory}/new-account", "POST"),
    ("/acme/{directory}/account/{id}", "POST"),
    ("/acme/{directory}/account/{id}/orders", "POST"),
    ("/acme/{directory}/key-change", "POST"),
    ("/acme/{directory}/new-order", "POST"),
    ("/acme/{directory}/order/{id}", "POST"),
    ("/acme/{directory}/order/{id}/finalize", "POST"),
    ("/acme/{directory}/authorization/{id}", "POST"),
    ("/acme/{directory}/challenge/{id}", "POST"),
    ("/acme/{directory}/certificate/{id}", "POST"),
    ("/acme/{directory}/revoke", "POST"),
    ("/api/docs", "GET"),
    ("/api/v1/openapi.json", "GET"),
    ("/errors", "GET"),
    ("/errors/{code}", "GET"),
    ("/", "GET"),
    ("/setup", "GET"),
    ("/setup", "POST"),
    ("/sign-in", "GET"),
    ("/sign-in", "POST"),
    ("/sign-in-link", "GET"),
    ("/sign-in-link", "POST"),
    ("/sign-out", "POST"),
    ("/certificates", "GET"),
    ("/certificates", "POST"),
    ("/certificates/new", "GET"),
    ("/certificates/{id}", "GET"),
    ("/certificates/{id}/revoke", "GET"),
    ("/certificates/{id}/revoke", "POST"),
    (UNMATCHED, "POST"),
];

/// What the layers call a path that no route has.
const UNMATCHED: &str = "unmatched";

/// (listener, template, method)
pub fn all() -> Vec<(&'static str, String, &'static str)> {
    let mut all = Vec::new();
    for (route, method) in STATUS {
        all.push(("http", (*route).to_owned(), *method));
        all.push(("https", (*route).to_owned(), *method));
    }
    all.extend(SECURE.iter().map(|(route, method)| ("https", (*route).to_owned(), *method)));
    for (path, item) in api::document().paths.paths {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("PATCH", item.patch.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        all.extend(
            methods.into_iter().filter(|(_, there)| *there).map(|(method, _)| ("https", path.clone(), method)),
        );
    }
    all
}
