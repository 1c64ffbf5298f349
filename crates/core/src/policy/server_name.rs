//! Check whether a binding may request a server name.
//!
//! A server name is a claim on gateways that others use too, and in BOUNDARY the gateway requests it with
//! this mesh's own certificate. Below `emcee.internal` a binding may therefore request only names of services
//! of its relationship, and outside of it only names that the administrator allows. This separates the names
//! of bindings from all names that Emcee generates for itself (`discovery.…`, `relay.…`, binding hosts),
//! whichever exists first.

use super::host_name::local_domain;
use crate::names::{self, MAX_SERVER_NAME};
use crate::text::quote_value;

/// Returns why a text is not a server name that a binding of any relationship may request. `None` if it is.
pub(crate) fn why_malformed(name: &str) -> Option<String> {
    if !names::is_dns_name(name) || !name.contains('.') {
        return Some(format!(
            "{} is not a server name (a DNS name in lower case with at least one dot)",
            quote_value(name)
        ));
    }
    if name.len() > MAX_SERVER_NAME {
        return Some(format!("has {} characters (at most {MAX_SERVER_NAME})", name.len()));
    }
    (names::is_emcee_name(name) && names::parse_server_name(name).is_none()).then(|| {
        format!(
            "{name} is a name of Emcee's own (below {} a binding asks for <name>.<namespace>.<relationship>.{} only; leave server_name out for the computed one)",
            names::EMCEE_DOMAIN,
            names::EMCEE_DOMAIN
        )
    })
}

/// Checks that a binding of a relationship may request a server name. The error says why not, and what would
/// allow it. `allowed` is what the MeshFedConfig `fed_config` allows outside of `emcee.internal`.
pub(crate) fn check_allowed(
    name: &str,
    relationship: &str,
    allowed: &[String],
    cluster_domain: &str,
    fed_config: &str,
) -> Result<(), String> {
    if let Some(words) = why_malformed(name) {
        return Err(words);
    }
    if let Some([_, _, owner]) = names::parse_server_name(name) {
        let words = format!(
            "{name} is a server name of {owner:?}, not of this relationship (<name>.<namespace>.{relationship}.{}; leave server_name out for the computed one)",
            names::EMCEE_DOMAIN
        );
        return if owner == relationship { Ok(()) } else { Err(words) };
    }
    // Local names must be listed exactly. A wildcard could cover services of this cluster by accident.
    let is_local = local_domain(name, Some(cluster_domain)).is_some();
    let allows = |pattern: &String| match pattern.strip_prefix("*.") {
        Some(domain) => !is_local && name != domain && names::is_in_domain(domain, name),
        None => pattern == name,
    };
    if allowed.iter().any(allows) {
        return Ok(());
    }
    Err(format!(
        "{name} is not in allowed_server_names of MeshFedConfig {fed_config}, and lies outside of {} (to allow it, its administrator adds `allowed_server_names: [{name}]` to its spec; or leave server_name out for the computed one)",
        names::EMCEE_DOMAIN
    ))
}

/// Returns why a text is not allowed in `allowed_server_names`, or `None` if it is. Allowed are server names
/// outside of `emcee.internal`, and `*.` with a domain that has a dot and is not local.
pub(crate) fn why_malformed_pattern(pattern: &str) -> Option<String> {
    let domain = pattern.strip_prefix("*.");
    let name = domain.unwrap_or(pattern);
    if !names::is_dns_name(name) || !name.contains('.') || pattern.len() > MAX_SERVER_NAME {
        return Some(format!(
            "{} is not a server name (a DNS name in lower case with at least one dot, or `*.` and such a name for all below it; at most {MAX_SERVER_NAME} characters)",
            quote_value(pattern)
        ));
    }
    if names::is_emcee_name(name) {
        return Some(format!(
            "{} is Emcee's own (a binding may ask for the names of its relationship without this)",
            quote_value(pattern)
        ));
    }
    // The cluster's own domain is not known here. `check_allowed` does not let a wildcard cover names below
    // it either.
    let local = domain.and_then(|domain| local_domain(domain, None));
    local.map(|local| {
        format!(
            "{} would allow names of this cluster or host (list names below {local} one by one)",
            quote_value(pattern)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(name: &str, patterns: &[&str]) -> bool {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        check_allowed(name, "blue", &patterns, "k8s.example", "blue/blue").is_ok()
    }

    #[test]
    fn emcee_internal_names_must_be_of_the_relationship() {
        assert!(is_allowed("reviews.shop.blue.emcee.internal", &[]));
        for bad in [
            "discovery.blue.emcee.internal",
            "reviews.shop.red.emcee.internal",
            "near.shop.binding.emcee.internal",
            "binding.emcee.internal",
            "blue.emcee.internal",
            "emcee.internal",
            "a.reviews.shop.blue.emcee.internal",
            "Reviews.shop.blue.emcee.internal",
            "reviews.shop.blue.emcee.internal.",
        ] {
            assert!(!is_allowed(bad, &[bad, "*.internal", "*.emcee.internal"]), "{bad}");
        }
    }

    #[test]
    fn other_names_need_the_administrators_permission() {
        for (name, pattern, expected) in [
            ("api.stripe.com", "api.stripe.com", true),
            ("api.stripe.com", "stripe.com", false),
            ("api.stripe.com", "*.stripe.com", true),
            ("v1.api.stripe.com", "*.stripe.com", true),
            ("stripe.com", "*.stripe.com", false),
            ("evilstripe.com", "*.stripe.com", false),
            ("kubernetes.default.svc", "kubernetes.default.svc", true),
            ("kubernetes.default.svc", "*.default.svc", false),
            ("a.b.svc.k8s.example", "*.svc.k8s.example", false),
            ("a.b.svc.k8s.example", "a.b.svc.k8s.example", true),
        ] {
            assert_eq!(is_allowed(name, &[pattern]), expected, "{name} by {pattern}");
        }
        assert!(!is_allowed("api.stripe.com", &[]));
    }

    #[test]
    fn too_wide_patterns_are_refused() {
        for good in ["api.stripe.com", "*.stripe.com", "kubernetes.default.svc"] {
            assert_eq!(why_malformed_pattern(good), None, "{good}");
        }
        let long = format!("*.{}", vec!["a"; 124].join("."));
        for bad in [
            "",
            "*",
            "*.com",
            "*.",
            "com",
            "*.*.com",
            "a.*.com",
            "A.example.com",
            "a.example.com.",
            "emcee.internal",
            "*.emcee.internal",
            "discovery.blue.emcee.internal",
            "*.default.svc",
            "*.svc.cluster.local",
            &long,
        ] {
            assert!(why_malformed_pattern(bad).is_some(), "{bad}");
        }
    }
}
