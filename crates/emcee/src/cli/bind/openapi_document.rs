//! Builds ServiceBindings from an OpenAPI document.

use std::io;
use std::path::Path;

use emcee_core::catalogue::{Announcement, PeerPolicy};
use emcee_core::labels::Labels;
use emcee_discovery::formats::FieldProblem;
use emcee_discovery::formats::openapi::{self, ParsedCatalogue};
use emcee_yaml::LocatedValue;
use serde_json::Value;

use super::{BindArgs, warn_assumed_selector};
use crate::catalogue::{BindingOptions, dynamic_binding, static_binding};
use crate::cli::relationships::{KnownRelationship, KnownRelationships, assumed_selector};
use crate::console::Console;

/// Reads a document and builds its ServiceBindings. Prints the refusals and returns `None` if anything is refused.
pub(super) fn read_bindings(
    path: &Path,
    args: &BindArgs,
    relationships: Option<&KnownRelationships>,
    console: &mut Console<'_>,
) -> anyhow::Result<Option<Vec<Value>>> {
    let tree = match emcee_yaml::read_value(path, io::stdin().lock())? {
        Ok(tree) => tree,
        Err(problems) => {
            problems.iter().try_for_each(|problem| console.print_error(problem))?;
            return Ok(None);
        }
    };
    let catalogue = match openapi::read(&tree.value) {
        Ok(catalogue) => catalogue,
        Err(problems) => {
            let located = |problem: &FieldProblem| tree.problem_at(&problem.field, problem.message.clone());
            problems.iter().try_for_each(|problem| console.print_error(located(problem)))?;
            return Ok(None);
        }
    };
    let Some(relationships) = relationships else {
        warn_assumed_selector(&catalogue.relationship, console)?;
        console.print_warning(
            "assumed: the peer may announce what the document contains (no MeshFedConfig was read)",
        )?;
        let selector = assumed_selector(&catalogue.relationship);
        // Without a MeshFedConfig it is not known whether the peer is followed; a static binding works in both cases.
        return Ok(Some(build_bindings(&catalogue, args, selector, args.peer.as_deref(), false)));
    };
    match validated_bindings(&tree, &catalogue, args, relationships) {
        Ok(bindings) => Ok(Some(bindings)),
        Err(refusals) => {
            refusals.iter().try_for_each(|words| console.print_error(words))?;
            Ok(None)
        }
    }
}

/// Validates the document against the relationship, and builds the bindings or returns all refusals.
fn validated_bindings(
    tree: &LocatedValue,
    catalogue: &ParsedCatalogue,
    args: &BindArgs,
    relationships: &KnownRelationships,
) -> Result<Vec<Value>, Vec<String>> {
    let to_messages = |words: String| vec![format!("emcee: {words}")];
    let known = relationships
        .find_by_name(&catalogue.relationship)
        .map_err(|error| to_messages(error.to_string()))?;
    let peer =
        known.select_peer(args.peer.as_deref()).map_err(|error| to_messages(format!("{error} (--peer)")))?;
    let selector = relationships.unique_selector(known).map_err(to_messages)?;
    let mut refusals: Vec<_> = catalogue
        .announcements
        .iter()
        .filter_map(|announcement| announcement_refusal(tree, &known.peer_policy, peer, announcement))
        .collect();
    refusals.extend(closed_namespaces(catalogue, args, known));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(build_bindings(catalogue, args, selector, Some(peer), is_followed(&known.peer_policy, peer)))
}

/// Returns one refusal for each namespace that may not use the relationship.
fn closed_namespaces(catalogue: &ParsedCatalogue, args: &BindArgs, known: &KnownRelationship) -> Vec<String> {
    let namespaces = catalogue
        .announcements
        .iter()
        .map(|announcement| args.namespace.as_deref().unwrap_or(&announcement.key.namespace));
    let mut closed: Vec<_> = namespaces.filter_map(|namespace| known.namespace_refusal(namespace)).collect();
    // The document is sorted by namespace, so equal refusals are adjacent.
    closed.dedup();
    closed.into_iter().map(|words| format!("emcee: {words}")).collect()
}

/// Returns why the peer may not announce a service, with the line of the document.
fn announcement_refusal(
    tree: &LocatedValue,
    policy: &PeerPolicy,
    peer: &str,
    announcement: &Announcement,
) -> Option<String> {
    let problem = policy.validate(peer, announcement).err()?;
    // The document uses the field names of a ServiceBinding.
    let field = problem.field.replacen("identities", "subject_alt_names", 1);
    let field = format!("paths[/{}].x-emcee.{field}", announcement.key);
    // A problem with the whole service has an empty field.
    Some(tree.problem_at(field.trim_end_matches('.'), problem.message).to_string())
}

/// Returns whether the peer's discovery address is known.
fn is_followed(policy: &PeerPolicy, peer: &str) -> bool {
    policy.find_peer(peer).is_some_and(|peer| !peer.discovery.is_empty())
}

/// Builds one binding for each service of the document.
fn build_bindings(
    catalogue: &ParsedCatalogue,
    args: &BindArgs,
    fed_config: Labels,
    peer: Option<&str>,
    is_followed: bool,
) -> Vec<Value> {
    let consumer = BindingOptions { namespace: args.namespace.as_deref(), fed_config, peer };
    let binding = |announcement: &Announcement| {
        if is_followed {
            dynamic_binding(&announcement.key, &consumer)
        } else {
            static_binding(announcement, &consumer)
        }
    };
    catalogue.announcements.iter().map(binding).collect()
}
