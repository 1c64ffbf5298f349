//! TLS settings in users' DestinationRules that an ingress gateway would follow.
//!
//! A gateway follows a rule of the Service's namespace, but reads the credential that the rule names from the
//! gateway's namespace. Such a rule could make the gateway call any server with the key of a relationship.

use std::collections::BTreeSet;

use emcee_api::Reason;

use crate::inputs::UserDestinationRule;
use crate::problem::ResourceProblem;
use crate::resolve::InputView;

/// Refuses a host for which a rule makes the gateways of a namespace use TLS settings of the rule's choice.
///
/// Istio uses the rules of the first of three namespaces that has any: the gateway's, the host's, the root
/// namespace. All three are checked, so that deleting one rule does not bring a refused one into force, even
/// for a moment.
pub(super) fn check(
    view: &InputView<'_>,
    host: &str,
    namespace: &str,
    gateway: &str,
) -> Result<(), ResourceProblem> {
    let namespaces = BTreeSet::from([gateway, namespace, &*view.settings().root_namespace]);
    for namespace in namespaces {
        let rules = view.destination_rules_for(host, namespace);
        let mut seen = rules.iter().filter(|rule| is_visible_to(rule, gateway)).peekable();
        // Istio merges rules for one host. If rules for several hosts match, the most specific host applies.
        let narrowest = seen.peek().map(|rule| rule.host.as_str());
        let mut chosen = seen.filter(|rule| Some(rule.host.as_str()) == narrowest);
        if let Some((rule, field)) = chosen.find_map(|rule| Some((rule, rule.custom_tls_field.as_ref()?))) {
            return Err(foreign_tls_problem(rule, field, host, gateway));
        }
    }
    Ok(())
}

fn is_visible_to(rule: &UserDestinationRule, gateway: &str) -> bool {
    if *rule.key.namespace == *gateway {
        return true;
    }
    // A rule that selects clients applies only in its own namespace.
    let exported = |to: &String| to == "*" || to == gateway;
    !rule.selects_clients && (rule.export_to.is_empty() || rule.export_to.iter().any(exported))
}

fn foreign_tls_problem(
    rule: &UserDestinationRule,
    field: &str,
    host: &str,
    gateway: &str,
) -> ResourceProblem {
    let message = format!(
        "DestinationRule {} sets {field} for {host} to other TLS than DISABLE or ISTIO_MUTUAL, or to a credential, which the ingress gateway in {gateway} would take from among the keys of relationships (take it out, or keep the rule from the gateway: exportTo [\".\"])",
        rule.key
    );
    ResourceProblem::at_field(Reason::ForeignCredential, "spec.name", message)
}
