//! Reads EndpointSlices as a bundle, or reports what is wrong with them. Files come from anywhere and pass through
//! many hands.

use std::collections::BTreeMap;
use std::fmt;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_core::names;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use prost::Message;
use serde_json::Value;

use super::{API_VERSION, EXPORTED_AT, KIND, MESH, Parcel, RELATIONSHIP, SERVICE_NAME};
use crate::slice::{self, AddressType, DecodeError, MAX_ENDPOINTS, Slice, SliceName};
use crate::wire;

/// Maximum number of EndpointSlices in a bundle: as many as a peer may announce.
const MAX_SLICES: usize = 10_000;
/// Maximum number of problems that are reported. Beyond it only the count is reported.
const MAX_PROBLEMS: usize = 100;
/// Characters of a file's text that a message repeats.
const SHOWN: usize = 80;

/// A problem in an object of a bundle. Displays as `field: what is wrong (what is allowed)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Index of the object, from 0. `None` if the problem concerns the whole bundle.
    pub item: Option<usize>,
    /// Path of the field, such as `metadata.annotations[emcee.io/style]`. Empty if the problem concerns the whole
    /// object.
    pub field: String,
    /// What is wrong, in one line of bounded length.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// Reads the objects of a bundle, in any order.
///
/// A bundle without objects is an error: a file that was lost on the way must not look like a withdrawal of
/// everything.
///
/// # Errors Returns the first problem of each object, at most 100 in all, and one with the number of the others.
pub fn read(objects: &[Value]) -> Result<Parcel, Vec<Problem>> {
    match objects.len() {
        0 => return Err(vec![of_all("there is no EndpointSlice in it (an empty bundle withdraws nothing)")]),
        1..=MAX_SLICES => {}
        count => {
            return Err(vec![of_all(format!(
                "{count} EndpointSlices are too many ({MAX_SLICES} are allowed)"
            ))]);
        }
    }
    let (mut items, mut problems) = (Vec::new(), Vec::new());
    for (index, object) in objects.iter().enumerate() {
        match item(object) {
            Ok(item) => items.push((index, item)),
            Err(Wrong { field, message }) => problems.push(Problem { item: Some(index), field, message }),
        }
    }
    // Assembled even after problems, so that disagreements between the good objects are reported in the same run.
    let bundle = together(items, &mut problems);
    bundle.filter(|_| problems.is_empty()).ok_or_else(|| bounded(problems))
}

fn of_all(message: impl Into<String>) -> Problem {
    Problem { item: None, field: String::new(), message: message.into() }
}

fn bounded(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.item);
    let untold = problems.len().saturating_sub(MAX_PROBLEMS);
    if untold > 0 {
        problems.truncate(MAX_PROBLEMS);
        problems.push(of_all(format!("{untold} more problems are not shown")));
    }
    problems
}

/// One parsed object.
struct Item {
    about: About,
    slice: Slice,
}

/// What all objects of a bundle have to agree on.
#[derive(Clone, PartialEq)]
struct About {
    relationship: String,
    mesh: Option<String>,
    exported_at: Timestamp,
}

/// A field of an object, and what is wrong with it.
struct Wrong {
    field: String,
    message: String,
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> Wrong {
    Wrong { field: field.into(), message: message.into() }
}

fn item(object: &Value) -> Result<Item, Wrong> {
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match object.get(field).and_then(Value::as_str) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(wrong(field, format!("is {} (a bundle has {expected})", quote(found))));
            }
            None => return Err(wrong(field, format!("is missing (a bundle has {expected})"))),
        }
    }
    let slice: EndpointSlice = serde_path_to_error::deserialize(object)
        .map_err(|error| wrong(cut(&error.path().to_string()), cut(&error.inner().to_string())))?;
    Ok(Item { about: about(&slice)?, slice: decoded(slice)? })
}

fn about(slice: &EndpointSlice) -> Result<About, Wrong> {
    let relationship = needed(slice, RELATIONSHIP, "the name of the relationship")?;
    let exported_at = needed(slice, EXPORTED_AT, "a time, such as 2026-11-25T08:00:00Z")?;
    let mesh = annotation(slice, MESH).map(|mesh| name(MESH, mesh)).transpose()?;
    let refused = |_| wrong(at(EXPORTED_AT), format!("{} is not a time in RFC 3339", quote(exported_at)));
    let exported_at = exported_at.parse().map_err(refused)?;
    Ok(About { relationship: name(RELATIONSHIP, relationship)?, mesh, exported_at })
}

fn annotation<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn needed<'a>(slice: &'a EndpointSlice, name: &str, what: &str) -> Result<&'a str, Wrong> {
    annotation(slice, name).ok_or_else(|| wrong(at(name), format!("is missing ({what})")))
}

fn name(annotation: &str, name: &str) -> Result<String, Wrong> {
    if names::is_dns_label(name) {
        return Ok(name.to_owned());
    }
    let message =
        format!("{} is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)", quote(name));
    Err(wrong(at(annotation), message))
}

fn at(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

/// Validates the slice by the same rules as on the wire.
fn decoded(slice: EndpointSlice) -> Result<Slice, Wrong> {
    // Port numbers in names of resources do not exist in files, so each slice is validated under the name without one.
    let name = slice_name(&slice)?;
    let count = slice.endpoints.len();
    if count > MAX_ENDPOINTS {
        return Err(wrong("endpoints", format!("{count} are too many ({MAX_ENDPOINTS} are allowed)")));
    }
    let resource = wire::Resource {
        name: name.to_string(),
        version: String::new(),
        resource: Some(wire::Any {
            type_url: wire::ENDPOINT_SLICE.to_owned(),
            value: on_the_wire(slice, &name).encode_to_vec().into(),
        }),
    };
    slice::decode(&resource).map_err(|error| told(&error))
}

fn slice_name(slice: &EndpointSlice) -> Result<SliceName, Wrong> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
    let service = service.map(String::as_str).unwrap_or_default();
    let label = format!("metadata.labels[{SERVICE_NAME}]");
    for (field, name) in [("metadata.namespace", namespace), (label.as_str(), service)] {
        if !names::is_dns_label(name) {
            let message = format!("{} is not a valid name (a DNS label)", quote(name));
            return Err(wrong(field, message));
        }
    }
    let refused =
        |()| wrong("addressType", format!("{} is unknown (IPv4, IPv6 or FQDN)", quote(&slice.address_type)));
    let address_type: AddressType = slice.address_type.parse().map_err(refused)?;
    Ok(SliceName { key: ObjectKey::new(namespace, service), address_type, port: None })
}

fn on_the_wire(slice: EndpointSlice, name: &SliceName) -> wire::EndpointSlice {
    let metadata = wire::ObjectMeta {
        name: slice.metadata.name,
        namespace: slice.metadata.namespace,
        labels: [("kubernetes.io/service-name".to_owned(), name.key.name.to_string())].into(),
        annotations: slice.metadata.annotations.unwrap_or_default(),
    };
    wire::EndpointSlice {
        metadata: Some(metadata),
        endpoints: slice.endpoints.into_iter().map(endpoint).collect(),
        ports: slice.ports.unwrap_or_default().into_iter().map(port).collect(),
        address_type: Some(slice.address_type),
    }
}

fn endpoint(endpoint: Endpoint) -> wire::Endpoint {
    let conditions =
        endpoint.conditions.map(|conditions| wire::EndpointConditions { ready: conditions.ready });
    wire::Endpoint { addresses: endpoint.addresses, conditions }
}

fn port(port: EndpointPort) -> wire::EndpointPort {
    let EndpointPort { app_protocol, name, port, protocol } = port;
    wire::EndpointPort { name, protocol, port, app_protocol }
}

/// Describes the problem with the paths of the file, where annotations are below `metadata.annotations`.
fn told(error: &DecodeError) -> Wrong {
    let place = |field: &str| if field.starts_with("emcee.io/") { at(field) } else { field.to_owned() };
    match error {
        DecodeError::Field { field, value, allowed } => {
            wrong(place(field), format!("{value} is not allowed ({allowed})"))
        }
        DecodeError::Missing(field) => wrong(place(field), "is missing"),
        DecodeError::TooMany { what: "ports", count, .. } => {
            wrong("ports", format!("has {count} entries (a slice of a bundle has 1)"))
        }
        DecodeError::Endpoint(error) => wrong("endpoints", error.to_string()),
        other => wrong("", other.to_string()),
    }
}

/// Slices with the indexes of their objects, by service.
type Services = BTreeMap<ObjectKey, Vec<(usize, Slice)>>;

/// Assembles the objects. They must agree on relationship, mesh and time, and about each service.
fn together(items: Vec<(usize, Item)>, problems: &mut Vec<Problem>) -> Option<Parcel> {
    let mut services = Services::new();
    let mut first: Option<(usize, About)> = None;
    for (index, Item { about: metadata, slice }) in items {
        // The first object sets what is expected. Those that differ are reported, not a majority.
        let (first, expected) = &*first.get_or_insert_with(|| (index, metadata.clone()));
        if let Some(annotation) = disagreement(expected, &metadata) {
            let message = format!("differs from object {} (a bundle has one)", first + 1);
            problems.push(Problem { item: Some(index), field: at(annotation), message });
        }
        services.entry(slice.name.key.clone()).or_default().push((index, slice));
    }
    let announcements =
        services.into_iter().filter_map(|(key, slices)| offer(key, slices, problems)).collect();
    let (_, About { relationship, mesh, exported_at }) = first?;
    Some(Parcel { relationship, mesh, exported_at, offers: announcements })
}

fn offer(key: ObjectKey, slices: Vec<(usize, Slice)>, problems: &mut Vec<Problem>) -> Option<Announcement> {
    let (first, facts) = slices.first().map(|(index, slice)| (*index, slice.facts.clone()))?;
    let mut refuse = |index: usize, field: &str, message| {
        problems.push(Problem { item: Some(index), field: field.to_owned(), message });
    };
    for (index, _) in slices.iter().filter(|(_, slice)| slice.facts != facts) {
        let message = format!(
            "differs from object {} for the same service {key} (only addresses may differ)",
            first + 1
        );
        refuse(*index, "metadata.annotations", message);
    }
    let endpoints = slices.into_iter().flat_map(|(_, slice)| slice.endpoints);
    let announcement = facts.offer(key, endpoints);
    // Each slice is within the limit already; this checks all slices of the service together.
    let count = announcement.endpoints.len();
    if count > MAX_ENDPOINTS {
        let message =
            format!("service {} has {count} in all ({MAX_ENDPOINTS} are allowed)", announcement.key);
        refuse(first, "endpoints", message);
    }
    Some(announcement)
}

fn disagreement(one: &About, other: &About) -> Option<&'static str> {
    [
        (RELATIONSHIP, one.relationship != other.relationship),
        (MESH, one.mesh != other.mesh),
        (EXPORTED_AT, one.exported_at != other.exported_at),
    ]
    .into_iter()
    .find_map(|(annotation, differs)| differs.then_some(annotation))
}

fn quote(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// Escapes and truncates text, so that it fits in one line.
fn cut(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() { shown + "…" } else { shown }
}
