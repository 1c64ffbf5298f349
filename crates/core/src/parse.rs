//! Parsing of an object as a user wrote it into a model that is always valid.
//!
//! This is the only validator: command line, webhook and status report the same problems. It has two steps,
//! and each reports everything that it finds. [`schema`] checks the object against its CRD's schema (types,
//! unknown and missing fields), then the module of each kind checks the values. Checks that depend on *other*
//! objects follow later.

mod binding;
mod exposition;
mod fed_config;
mod field_checker;
mod problems;
mod schema;

use emcee_api::{MeshFedConfig, Reason, ServiceBinding, ServiceExposition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use binding::import_owner_labels;
pub use binding::{Binding, ExportScope, StoredAnnouncement};
pub use exposition::Exposition;
pub use fed_config::{AllowedNamespaces, DiscoverySettings, FedConfig, GatewaySettings, PeerSettings};

use crate::key::{ObjectKey, Precedence};
use crate::names;
use crate::problem::{ResourceProblem, describe_type_error};
use crate::text::{MAX_TEXT_CHARS, escape_text, quote_value};
use field_checker::FieldChecker;
pub(crate) use field_checker::is_spiffe_id;

/// Reads a MeshFedConfig.
///
/// # Errors
/// Returns all problems of the object.
pub fn read_fed_config(object: &Value) -> Result<FedConfig, Vec<ResourceProblem>> {
    read_object::<MeshFedConfig, _>(object, &schema::MESH_FED_CONFIG, |o| &o.metadata, fed_config::parse)
}

/// Reads a ServiceExposition.
///
/// ```
/// use emcee_core::parse::read_exposition;
/// use serde_json::json;
///
/// let mut object = json!({
///     "apiVersion": "mm.ibm.istio.io/v1",
///     "kind": "ServiceExposition",
///     "metadata": {"name": "reviews", "namespace": "default"},
///     "spec": {"name": "reviews", "port": 9080, "mesh_fed_config_selector": {"fed-config": "blue"}},
/// });
/// let exposition = read_exposition(&object).expect("it is valid");
/// assert_eq!(exposition.identity.key.to_string(), "default/reviews");
///
/// // An invalid object results in all of its problems, each with its field.
/// object["spec"]["port"] = json!(99_999);
/// object["spec"]["name"] = json!("not a name");
/// let problems = read_exposition(&object).expect_err("two fields are invalid");
/// let fields: Vec<_> = problems.iter().map(|problem| &*problem.field).collect();
/// assert_eq!(fields, ["spec.name", "spec.port"]);
/// ```
///
/// # Errors
/// Returns all problems of the object.
pub fn read_exposition(object: &Value) -> Result<Exposition, Vec<ResourceProblem>> {
    read_object::<ServiceExposition, _>(
        object,
        &schema::SERVICE_EXPOSITION,
        |o| &o.metadata,
        exposition::parse,
    )
}

/// Reads a ServiceBinding.
///
/// # Errors
/// Returns all problems of the object.
pub fn read_binding(object: &Value) -> Result<Binding, Vec<ResourceProblem>> {
    read_object::<ServiceBinding, _>(object, &schema::SERVICE_BINDING, |o| &o.metadata, binding::parse)
}

/// Identity of an object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceIdentity {
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// Precedence among objects that claim the same thing.
    pub precedence: Precedence,
    /// `metadata.generation`; `None` in files.
    pub generation: Option<i64>,
}

fn read_object<K: DeserializeOwned, M>(
    object: &Value,
    schema: &schema::CrdSchema,
    metadata: fn(&K) -> &ObjectMeta,
    parse: fn(&mut FieldChecker, ResourceIdentity, &K) -> M,
) -> Result<M, Vec<ResourceProblem>> {
    let schema::SchemaCheck { mut object, mut problems, placeholders: stand_ins } =
        schema.check_object(object);
    // Without a spec there are no values to check. Above the limit, further problems would not be listed.
    if !object["spec"].is_object() || problems.is_full() {
        return Err(problems.into_list());
    }
    if serde_json::from_value::<K>(object.clone()).is_err()
        && let Some(fields) = object.as_object_mut()
    {
        // Emcee wrote the status, possibly in another version. The user cannot fix it, so it must not fail
        // the object.
        fields.remove("status");
    }
    // Check the values even if the schema check found problems, so that the user sees all problems at once.
    let mut checker = FieldChecker::default();
    let model = match serde_json::from_value::<K>(object) {
        Ok(typed) => read_identity(&mut checker, metadata(&typed))
            .map(|identity| parse(&mut checker, identity, &typed)),
        Err(error) => {
            problems.push(ResourceProblem::new(
                Reason::Invalid,
                escape_text(&describe_type_error(&error.to_string()), MAX_TEXT_CHARS),
            ));
            None
        }
    };
    // The value of a placeholder field is made up, so problems with it would confuse the user.
    problems.extend_except(checker.problems, &stand_ins);
    let problems = problems.into_list();
    match model {
        Some(model) if problems.is_empty() => Ok(model),
        _ => Err(problems),
    }
}

fn read_identity(checker: &mut FieldChecker, metadata: &ObjectMeta) -> Option<ResourceIdentity> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    if !names::is_dns_name(name) {
        checker.refuse(
            "metadata.name",
            format!("{} is not a name (a-z, 0-9, `-` and `.`, at most 253)", quote_value(name)),
        );
    }
    // The API server enforces both names. In files nothing has checked them yet.
    checker.check_label("metadata.namespace", namespace);
    if !checker.problems.as_slice().is_empty() {
        return None;
    }
    let key = ObjectKey::new(namespace, name);
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    Some(ResourceIdentity {
        precedence: Precedence::new(created, metadata.uid.as_deref(), key.clone()),
        key,
        generation: metadata.generation,
    })
}
