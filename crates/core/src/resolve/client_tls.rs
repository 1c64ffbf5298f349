//! The TLS that users' DestinationRules have an ingress gateway speak.
//!
//! A gateway follows a rule of the Service's namespace, and takes the certificate that the rule names from its own
//! namespace: so a rule could have it call any server with the key of a relationship.

use std::collections::BTreeSet;

use emcee_api::Reason;

use crate::inputs::Subsets;
use crate::problem::Problem;
use crate::resolve::View;

/// Refuses a host for which a rule has the gateways of a namespace speak TLS of the rule's own choice.
///
/// Istio takes the rules of the first of three namespaces that has any: the gateway's, that of the host, the root
/// namespace. All three are judged, so that a rule that goes does not bring another one in force for a moment.
pub(super) fn check(view: &View<'_>, host: &str, namespace: &str, gateway: &str) -> Result<(), Problem> {
    let namespaces = BTreeSet::from([gateway, namespace, &*view.settings().root_namespace]);
    for namespace in namespaces {
        let rules = view.rules_for(host, namespace);
        let mut seen = rules.iter().filter(|rule| is_seen(rule, gateway)).peekable();
        // Rules for one host are merged; of several hosts that match, the narrowest counts.
        let narrowest = seen.peek().map(|rule| rule.host.as_str());
        let mut chosen = seen.filter(|rule| Some(rule.host.as_str()) == narrowest);
        if let Some((rule, field)) = chosen.find_map(|rule| Some((rule, rule.foreign_tls.as_ref()?))) {
            return Err(refused(rule, field, host, gateway));
        }
    }
    Ok(())
}

fn is_seen(rule: &Subsets, gateway: &str) -> bool {
    if *rule.key.namespace == *gateway {
        return true;
    }
    // With a selector of clients, a rule is for its own namespace only.
    let exported = |to: &String| to == "*" || to == gateway;
    !rule.selects_clients && (rule.export_to.is_empty() || rule.export_to.iter().any(exported))
}

fn refused(rule: &Subsets, field: &str, host: &str, gateway: &str) -> Problem {
    let message = format!(
        "DestinationRule {} sets {field} for {host} to other TLS than DISABLE or ISTIO_MUTUAL, or to a credential, which the ingress gateway in {gateway} would take from among the keys of relationships (take it out, or keep the rule from the gateway: exportTo [\".\"])",
        rule.key
    );
    Problem::at(Reason::ForeignCredential, "spec.name", message)
}
