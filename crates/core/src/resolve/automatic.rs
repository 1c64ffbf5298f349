//! A Service that is exposed by its labels: which ServiceExpositions that comes to.

use emcee_api::{Reason, labels};

use super::View;
use crate::inputs::{Expose, Service, ServicePort};
use crate::names;
use crate::problem::Problem;
use crate::text::quote;

/// A port of a Service, as it is to be exposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AutomaticExposition {
    /// Name of the ServiceExposition.
    pub(crate) name: String,
    /// The port.
    pub(crate) port: u16,
    /// Value of the label by which its MeshFedConfig is selected.
    pub(crate) fed_config: String,
    /// Under which name peers know it, if not the Service's.
    pub(crate) alias: Option<String>,
}

/// What a Service asks for by its labels.
pub(crate) struct Asked {
    /// The ServiceExpositions.
    pub(crate) expositions: Vec<AutomaticExposition>,
    /// Why some of its ports have none.
    pub(crate) refused: Vec<Problem>,
}

/// One for each TCP port. The first port keeps the Service's name, as most Services have one.
pub(crate) fn resolve(view: &View<'_>, service: &Service, expose: &Expose) -> Result<Asked, Problem> {
    let fed_config = through(view, expose)?;
    let alias = alias(expose, &fed_config)?;
    if service.ports.is_empty() {
        return Err(at(
            labels::EXPOSE,
            "the Service has no TCP port to expose (give it one, or take the label off)",
        ));
    }
    let service_name = &*service.key.name;
    let peers_know = alias.as_deref().unwrap_or(service_name);
    let further = service.ports.iter().skip(1).map(|port| {
        let part = part(port);
        let alias = format!("{peers_know}-{part}");
        (format!("{service_name}-auto-exposed-{part}"), port, Some(alias))
    });
    let first = (format!("{service_name}-auto-exposed"), &service.ports[0], alias.clone());
    let of = |(name, port, alias): (String, &ServicePort, Option<String>)| AutomaticExposition {
        name,
        port: port.number,
        fed_config: fed_config.clone(),
        alias,
    };
    let (expositions, refused) = [first].into_iter().chain(further).map(of).partition(is_named);
    Ok(Asked { expositions, refused: refused.iter().map(unnamed).collect() })
}

/// Whether both names are such as a ServiceExposition may have.
fn is_named(exposition: &AutomaticExposition) -> bool {
    names::is_dns_name(&exposition.name) && exposition.alias.as_deref().is_none_or(names::is_dns_label)
}

/// Why a port is not exposed whose names are made of too much.
fn unnamed(exposition: &AutomaticExposition) -> Problem {
    let AutomaticExposition { name, port, alias, .. } = exposition;
    let known_as = alias.as_deref().unwrap_or_default();
    let message = format!(
        "port {port} is not exposed: it would need a ServiceExposition {}, known to peers as {}, and that is not a valid name (at most 63 characters; give the port a shorter name, or the Service a shorter {})",
        quote(name),
        quote(known_as),
        labels::EXPOSE_AS
    );
    at(labels::EXPOSE, message)
}

fn part(port: &ServicePort) -> String {
    port.name.clone().unwrap_or_else(|| port.number.to_string())
}

/// Which MeshFedConfig, by the value of its label.
fn through(view: &View<'_>, expose: &Expose) -> Result<String, Problem> {
    match &*expose.through {
        "" => Err(at(labels::EXPOSE, "names no MeshFedConfig (its name, or true if there is but one)")),
        labels::EXPOSE_THE_ONLY_ONE => the_only_one(view),
        name => Ok(name.to_owned()),
    }
}

fn the_only_one(view: &View<'_>) -> Result<String, Problem> {
    let keys: Vec<_> = view.fed_config_keys().collect();
    match keys.as_slice() {
        [one] => {
            let config = view.fed_config(one).and_then(|parsed| parsed.as_ref().ok());
            let label = config.and_then(|config| config.labels.get(labels::FED_CONFIG));
            Ok(label.unwrap_or(&one.name).to_owned())
        }
        [] => Err(at(labels::EXPOSE, "there is no MeshFedConfig to expose it through")),
        several => {
            let names: Vec<_> = several.iter().take(5).map(ToString::to_string).collect();
            let more = if several.len() > names.len() { ", …" } else { "" };
            let message = format!(
                "true stands for the only MeshFedConfig, and there are {}: {}{more} (name one)",
                several.len(),
                names.join(", ")
            );
            Err(at(labels::EXPOSE, message))
        }
    }
}

/// `[<MeshFedConfig>:]<alias>`
fn alias(expose: &Expose, fed_config: &str) -> Result<Option<String>, Problem> {
    let Some(text) = &expose.as_ else { return Ok(None) };
    let (of, alias) = match text.split_once(':') {
        Some((of, alias)) => (Some(of.trim()), alias.trim()),
        None => (None, text.trim()),
    };
    if let Some(of) = of.filter(|of| *of != fed_config) {
        let message = format!(
            "is for MeshFedConfig {of:?}, and {} exposes the Service through {fed_config} (name the same one)",
            labels::EXPOSE
        );
        return Err(at(labels::EXPOSE_AS, message));
    }
    if !names::is_dns_label(alias) {
        let message = format!(
            "{alias:?}: invalid alias (1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit)"
        );
        return Err(at(labels::EXPOSE_AS, message));
    }
    Ok(Some(alias.to_owned()))
}

fn at(label: &str, message: impl Into<String>) -> Problem {
    let place = if label == labels::EXPOSE { "labels" } else { "annotations" };
    Problem::at(Reason::Invalid, format!("metadata.{place}[{label}]"), message)
}
