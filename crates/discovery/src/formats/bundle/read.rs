//! Reads EndpointSlices as a bundle, or reports what is wrong with them. Files come from anywhere and pass through
//! many hands.

use std::collections::BTreeMap;
use std::fmt;

use emcee_core::catalogue::{Announcement, AnnouncementQuota};
use emcee_core::key::ObjectKey;
use emcee_core::names;
use emcee_core::text::{escape_text, quote_value};
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use prost::Message;
use serde_json::Value;

use super::{
    API_VERSION, Bundle, EXPORTED_AT_ANNOTATION, KIND, MESH_ANNOTATION, RELATIONSHIP_ANNOTATION,
    SERVICE_NAME_LABEL,
};
use crate::formats::FieldProblem;
use crate::formats::endpoint_slice::{
    self, AddressType, MAX_ENDPOINTS, ServiceSlice, SliceDecodeError, SliceName,
};
use crate::wire;

/// Maximum number of EndpointSlices in a bundle: as many as a peer may announce.
const MAX_SLICES: usize = AnnouncementQuota::DEFAULT.resources;
/// Maximum number of problems that are reported. Beyond it only the count is reported.
const MAX_PROBLEMS: usize = 100;
/// Maximum number of characters of an error of serde that a message repeats: it may contain text of the file.
const MAX_ESCAPED_CHARS: usize = 80;

/// A problem in an object of a bundle. Displays as the problem of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleProblem {
    /// Index of the object, from 0. `None` if the problem concerns the whole bundle.
    pub object_index: Option<usize>,
    /// The field and what is wrong with it.
    pub problem: FieldProblem,
}

impl fmt::Display for BundleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

/// Reads the objects of a bundle, in any order.
///
/// A bundle without objects is an error: a file that was lost on the way must not look like a withdrawal of
/// everything.
///
/// # Errors Returns the first problem of each object, at most 100 in all, and one with the number of the others.
pub fn read(objects: &[Value]) -> Result<Bundle, Vec<BundleProblem>> {
    match objects.len() {
        0 => {
            return Err(vec![whole_bundle_problem(
                "there is no EndpointSlice in it (an empty bundle withdraws nothing)",
            )]);
        }
        1..=MAX_SLICES => {}
        count => {
            return Err(vec![whole_bundle_problem(format!(
                "{count} EndpointSlices are too many ({MAX_SLICES} are allowed)"
            ))]);
        }
    }
    let (mut items, mut problems) = (Vec::new(), Vec::new());
    for (index, object) in objects.iter().enumerate() {
        match parse_object(object) {
            Ok(item) => items.push((index, item)),
            Err(problem) => problems.push(BundleProblem { object_index: Some(index), problem }),
        }
    }
    // Assembled even after problems, so that disagreements between the good objects are reported in the same run.
    let bundle = assemble_bundle(items, &mut problems);
    bundle.filter(|_| problems.is_empty()).ok_or_else(|| limit_problems(problems))
}

fn whole_bundle_problem(message: impl Into<String>) -> BundleProblem {
    BundleProblem { object_index: None, problem: FieldProblem::new("", message) }
}

fn limit_problems(mut problems: Vec<BundleProblem>) -> Vec<BundleProblem> {
    problems.sort_by_key(|problem| problem.object_index);
    let untold = problems.len().saturating_sub(MAX_PROBLEMS);
    if untold > 0 {
        problems.truncate(MAX_PROBLEMS);
        problems.push(whole_bundle_problem(format!("{untold} more problems are not shown")));
    }
    problems
}

/// One parsed object.
struct BundleObject {
    metadata: BundleMetadata,
    slice: ServiceSlice,
}

/// What all objects of a bundle have to agree on.
#[derive(Clone, PartialEq)]
struct BundleMetadata {
    relationship: String,
    mesh: Option<String>,
    exported_at: Timestamp,
}

fn parse_object(object: &Value) -> Result<BundleObject, FieldProblem> {
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match object.get(field).and_then(Value::as_str) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(FieldProblem::new(
                    field,
                    format!("is {} (a bundle has {expected})", quote_value(found)),
                ));
            }
            None => return Err(FieldProblem::new(field, format!("is missing (a bundle has {expected})"))),
        }
    }
    let slice: EndpointSlice = serde_path_to_error::deserialize(object).map_err(|error| {
        FieldProblem::new(
            escape_text(&error.path().to_string(), MAX_ESCAPED_CHARS),
            escape_text(&error.inner().to_string(), MAX_ESCAPED_CHARS),
        )
    })?;
    Ok(BundleObject { metadata: parse_metadata(&slice)?, slice: validate_slice(slice)? })
}

fn parse_metadata(slice: &EndpointSlice) -> Result<BundleMetadata, FieldProblem> {
    let relationship = required_annotation(slice, RELATIONSHIP_ANNOTATION, "the name of the relationship")?;
    let exported_at =
        required_annotation(slice, EXPORTED_AT_ANNOTATION, "a time, such as 2026-11-25T08:00:00Z")?;
    let mesh =
        annotation(slice, MESH_ANNOTATION).map(|mesh| parse_dns_label(MESH_ANNOTATION, mesh)).transpose()?;
    let refused = |_| {
        FieldProblem::new(
            annotation_path(EXPORTED_AT_ANNOTATION),
            format!("{} is not a time in RFC 3339", quote_value(exported_at)),
        )
    };
    let exported_at = exported_at.parse().map_err(refused)?;
    Ok(BundleMetadata {
        relationship: parse_dns_label(RELATIONSHIP_ANNOTATION, relationship)?,
        mesh,
        exported_at,
    })
}

fn annotation<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn required_annotation<'a>(
    slice: &'a EndpointSlice,
    name: &str,
    what: &str,
) -> Result<&'a str, FieldProblem> {
    annotation(slice, name)
        .ok_or_else(|| FieldProblem::new(annotation_path(name), format!("is missing ({what})")))
}

fn parse_dns_label(annotation: &str, name: &str) -> Result<String, FieldProblem> {
    if names::is_dns_label(name) {
        return Ok(name.to_owned());
    }
    let message =
        format!("{} is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)", quote_value(name));
    Err(FieldProblem::new(annotation_path(annotation), message))
}

fn annotation_path(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

/// Validates the slice by the same rules as on the wire.
fn validate_slice(slice: EndpointSlice) -> Result<ServiceSlice, FieldProblem> {
    // Port numbers in names of resources do not exist in files, so each slice is validated under the name without one.
    let name = parse_slice_name(&slice)?;
    let count = slice.endpoints.len();
    if count > MAX_ENDPOINTS {
        return Err(FieldProblem::new(
            "endpoints",
            format!("{count} are too many ({MAX_ENDPOINTS} are allowed)"),
        ));
    }
    let resource = wire::XdsResource {
        name: name.to_string(),
        version: String::new(),
        resource: Some(wire::Any {
            type_url: wire::ENDPOINT_SLICE.to_owned(),
            value: to_wire_slice(slice, &name).encode_to_vec().into(),
        }),
    };
    endpoint_slice::decode_slice(&resource).map_err(|error| from_decode_error(&error))
}

fn parse_slice_name(slice: &EndpointSlice) -> Result<SliceName, FieldProblem> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
    let service = service.map(String::as_str).unwrap_or_default();
    let label = format!("metadata.labels[{SERVICE_NAME_LABEL}]");
    for (field, name) in [("metadata.namespace", namespace), (label.as_str(), service)] {
        if !names::is_dns_label(name) {
            let message = format!("{} is not a valid name (a DNS label)", quote_value(name));
            return Err(FieldProblem::new(field, message));
        }
    }
    let refused = |()| {
        FieldProblem::new(
            "addressType",
            format!("{} is unknown (IPv4, IPv6 or FQDN)", quote_value(&slice.address_type)),
        )
    };
    let address_type: AddressType = slice.address_type.parse().map_err(refused)?;
    Ok(SliceName { key: ObjectKey::new(namespace, service), address_type, port: None })
}

fn to_wire_slice(slice: EndpointSlice, name: &SliceName) -> wire::EndpointSlice {
    let metadata = wire::ObjectMeta {
        name: slice.metadata.name,
        namespace: slice.metadata.namespace,
        labels: [(emcee_api::labels::SERVICE_NAME.to_owned(), name.key.name.to_string())].into(),
        annotations: slice.metadata.annotations.unwrap_or_default(),
    };
    wire::EndpointSlice {
        metadata: Some(metadata),
        endpoints: slice.endpoints.into_iter().map(to_wire_endpoint).collect(),
        ports: slice.ports.unwrap_or_default().into_iter().map(to_wire_port).collect(),
        address_type: Some(slice.address_type),
    }
}

fn to_wire_endpoint(endpoint: Endpoint) -> wire::SliceEndpoint {
    let conditions =
        endpoint.conditions.map(|conditions| wire::EndpointConditions { ready: conditions.ready });
    wire::SliceEndpoint { addresses: endpoint.addresses, conditions }
}

fn to_wire_port(port: EndpointPort) -> wire::EndpointPort {
    let EndpointPort { app_protocol, name, port, protocol } = port;
    wire::EndpointPort { name, protocol, port, app_protocol }
}

/// Describes the problem with the paths of the file, where annotations are below `metadata.annotations`.
fn from_decode_error(error: &SliceDecodeError) -> FieldProblem {
    let place =
        |field: &str| if field.starts_with("emcee.io/") { annotation_path(field) } else { field.to_owned() };
    match error {
        SliceDecodeError::Field { field, value, allowed } => {
            FieldProblem::new(place(field), format!("{value} is not allowed ({allowed})"))
        }
        SliceDecodeError::Missing(field) => FieldProblem::new(place(field), "is missing"),
        SliceDecodeError::TooMany { what: "ports", count, .. } => {
            FieldProblem::new("ports", format!("has {count} entries (a slice of a bundle has 1)"))
        }
        SliceDecodeError::Endpoint(error) => FieldProblem::new("endpoints", error.to_string()),
        other => FieldProblem::new("", other.to_string()),
    }
}

/// Slices with the indexes of their objects, by service.
type SlicesByService = BTreeMap<ObjectKey, Vec<(usize, ServiceSlice)>>;

/// Assembles the objects. They must agree on relationship, mesh and time, and about each service.
fn assemble_bundle(items: Vec<(usize, BundleObject)>, problems: &mut Vec<BundleProblem>) -> Option<Bundle> {
    let mut services = SlicesByService::new();
    let mut first: Option<(usize, BundleMetadata)> = None;
    for (index, BundleObject { metadata, slice }) in items {
        // The first object sets what is expected. Those that differ are reported, not a majority.
        let (first, expected) = &*first.get_or_insert_with(|| (index, metadata.clone()));
        if let Some(annotation) = first_difference(expected, &metadata) {
            let message = format!("differs from object {} (a bundle has one)", first + 1);
            let problem = FieldProblem::new(annotation_path(annotation), message);
            problems.push(BundleProblem { object_index: Some(index), problem });
        }
        services.entry(slice.name.key.clone()).or_default().push((index, slice));
    }
    let announcements =
        services.into_iter().filter_map(|(key, slices)| merge_slices(key, slices, problems)).collect();
    let (_, BundleMetadata { relationship, mesh, exported_at }) = first?;
    Some(Bundle { relationship, mesh, exported_at, announcements })
}

fn merge_slices(
    key: ObjectKey,
    slices: Vec<(usize, ServiceSlice)>,
    problems: &mut Vec<BundleProblem>,
) -> Option<Announcement> {
    let (first, facts) = slices.first().map(|(index, slice)| (*index, slice.attributes.clone()))?;
    let mut refuse = |index: usize, field: &str, message: String| {
        problems
            .push(BundleProblem { object_index: Some(index), problem: FieldProblem::new(field, message) });
    };
    for (index, _) in slices.iter().filter(|(_, slice)| slice.attributes != facts) {
        let message = format!(
            "differs from object {} for the same service {key} (only addresses may differ)",
            first + 1
        );
        refuse(*index, "metadata.annotations", message);
    }
    let endpoints = slices.into_iter().flat_map(|(_, slice)| slice.endpoints);
    let announcement = facts.to_announcement(key, endpoints);
    // Each slice is within the limit already; this checks all slices of the service together.
    let count = announcement.endpoints.len();
    if count > MAX_ENDPOINTS {
        let message =
            format!("service {} has {count} in all ({MAX_ENDPOINTS} are allowed)", announcement.key);
        refuse(first, "endpoints", message);
    }
    Some(announcement)
}

fn first_difference(one: &BundleMetadata, other: &BundleMetadata) -> Option<&'static str> {
    [
        (RELATIONSHIP_ANNOTATION, one.relationship != other.relationship),
        (MESH_ANNOTATION, one.mesh != other.mesh),
        (EXPORTED_AT_ANNOTATION, one.exported_at != other.exported_at),
    ]
    .into_iter()
    .find_map(|(annotation, differs)| differs.then_some(annotation))
}
