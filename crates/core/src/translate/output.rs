//! What one unit comes to.

use foldhash::HashSet;

use super::Unit;
use super::claims::Claims;
use crate::block;
use crate::catalogue::{Addressed, Source};
use crate::inputs::Service;
use crate::key::Key;
use crate::plan::Object;
use crate::problem::Problem;
use crate::resolve::{self, FacadePort, Imports, Offering, Skipped, View};
use crate::status::{Detail, Verdict};
use crate::style;

/// What one unit made.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) objects: Vec<Object>,
    pub(super) verdict: Option<Verdict>,
    pub(super) facade_port: Option<FacadePort>,
    pub(super) relays: bool,
    /// The peer whose announcement a binding follows.
    pub(super) uses: Option<Source>,
    /// What is announced and not imported.
    pub(super) skipped: Vec<Skipped>,
    /// What an exposition offers.
    pub(super) offers: Vec<Addressed>,
}

impl Output {
    /// Nothing but a verdict.
    pub(super) fn failed(verdict: Verdict) -> Self {
        Self { verdict: Some(verdict), ..Self::default() }
    }

    pub(super) fn refused(problems: &[Problem]) -> Self {
        Self::failed(Verdict::refused(problems))
    }
}

pub(super) fn automatic(view: &View<'_>, service: &Service) -> Option<Output> {
    let expose = service.expose.as_deref()?;
    Some(match resolve::automatic(view, service, expose) {
        Ok(expositions) => {
            let objects = block::automatic::objects(&service.key, &expositions);
            Output { objects, ..Output::default() }
        }
        Err(problem) => Output::failed(Verdict::failed(None, problem, Vec::new())),
    })
}

/// None of a relationship in which nothing is imported automatically.
pub(super) fn imports(view: &View<'_>, fed_config: &Key) -> Option<Output> {
    let relationship = view.relationship(fed_config)?;
    let Imports { bindings, skipped } = resolve::imports(view, relationship)?;
    let objects = block::imports::objects(&relationship.config, &bindings);
    Some(Output { objects, skipped, ..Output::default() })
}

pub(super) fn exposition(
    view: &View<'_>,
    key: &Key,
    claims: &mut Claims,
    rivals: &mut HashSet<Unit>,
) -> Option<Output> {
    let parsed = view.exposition(key);
    let mut warnings = Vec::new();
    let resolved =
        parsed.and_then(|p| p.as_ref().ok()).map(|e| (e, resolve::exposition(view, e, &mut warnings)));
    let offerings = resolved.as_ref().and_then(|(_, offerings)| offerings.as_ref().ok());
    let server_names = offerings.into_iter().flatten().map(|offering| offering.server_name.clone()).collect();
    let age = resolved.as_ref().map(|(exposition, _)| &exposition.identity.age);
    rivals.extend(claims.set_server_names(key, age, server_names));
    let (exposition, offerings) = match (parsed?, resolved) {
        (Err(problems), _) => return Some(Output::refused(problems)),
        (Ok(_), Some((exposition, offerings))) => (exposition, offerings),
        (Ok(_), None) => return None,
    };
    let generation = exposition.identity.generation;
    let offerings = match offerings {
        Ok(offerings) => offerings,
        Err(problem) => return Some(Output::failed(Verdict::failed(generation, problem, warnings))),
    };
    let mut objects = Vec::new();
    let mut problems = Vec::new();
    let mut in_place = Vec::new();
    let mut offers = Vec::new();
    for offering in &offerings {
        let held = claims.server_name_conflict(&offering.server_name, &exposition.identity.age);
        if held.is_none() {
            offers.extend(offering.addressed(exposition, view.settings()));
        }
        match (&offering.offer, held) {
            (Ok(offer), None) => {
                objects.extend(style::of(offering.relationship.config.mode).exposing(offer));
                in_place.push(offering);
            }
            (offer, held) => problems.extend(offer.as_ref().err().cloned().into_iter().chain(held)),
        }
    }
    let told = told(&offerings, &offers);
    let verdict = Verdict::of_exposition(exposition, &offerings, &in_place, told, problems, warnings);
    Some(Output { objects, verdict: Some(verdict), offers, ..Output::default() })
}

/// `<relationship>/<peer>` of the peers that are told.
fn told(offerings: &[Offering<'_>], offers: &[Addressed]) -> Vec<String> {
    let relationship = |fed_config: &Key| {
        let of = |offering: &&Offering<'_>| offering.relationship.key() == fed_config;
        offerings.iter().find(of).map(|offering| offering.relationship.config.relationship.as_str())
    };
    let names = |offer: &Addressed| {
        let relationship = relationship(&offer.fed_config).unwrap_or_default();
        offer.peers.iter().map(|peer| format!("{relationship}/{peer}")).collect::<Vec<_>>()
    };
    offers.iter().flat_map(names).collect()
}

pub(super) fn binding(
    view: &View<'_>,
    key: &Key,
    claims: &mut Claims,
    rivals: &mut HashSet<Unit>,
    shared: &mut HashSet<Unit>,
) -> Option<Output> {
    let parsed = view.binding(key);
    let mut warnings = Vec::new();
    let resolved =
        parsed.and_then(|p| p.as_ref().ok()).map(|b| (b, resolve::binding(view, b, &mut warnings)));
    let bound = resolved.as_ref().and_then(|(_, bound)| bound.as_ref().ok());
    let age = resolved.as_ref().map(|(binding, _)| &binding.identity.age);
    let (facade, relay) = (bound.and_then(|b| b.facade.clone()), bound.and_then(|b| b.relay.clone()));
    rivals.extend(claims.set_binding(key, age, facade, relay, shared));
    let (binding, bound) = match (parsed?, resolved) {
        (Err(problems), _) => return Some(Output::refused(problems)),
        (Ok(_), Some((binding, bound))) => (binding, bound),
        (Ok(_), None) => return None,
    };
    let generation = binding.identity.generation;
    let bound = match bound {
        Ok(bound) => bound,
        Err(problem) => return Some(Output::failed(Verdict::failed(generation, problem, warnings))),
    };
    let age = &binding.identity.age;
    let conflict = bound.facade.as_ref().and_then(|claim| claims.facade_conflict(claim, age));
    let conflict =
        conflict.or_else(|| bound.relay.as_ref().and_then(|claim| claims.relay_conflict(claim, age)));
    let has_name = conflict.is_none();
    let detail = Detail::of_binding(binding, &bound);
    let writes = style::of(bound.relationship.config.mode);
    let (objects, problems) = match (bound.consumption, conflict) {
        (Ok(consumption), None) => (writes.consuming(&consumption), Vec::new()),
        (consumption, conflict) => (Vec::new(), consumption.err().into_iter().chain(conflict).collect()),
    };
    let in_place = problems.is_empty();
    Some(Output {
        objects,
        verdict: Some(Verdict::of_binding(generation, problems, warnings, detail)),
        facade_port: bound.facade_port.filter(|port| in_place || port.route.is_none() && has_name),
        uses: bound.uses,
        relays: in_place && bound.relay.is_some(),
        ..Output::default()
    })
}
