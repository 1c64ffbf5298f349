//! Converts YAML documents into changes of the core's inputs, and collects what is wrong with them.

use std::collections::HashMap;
use std::sync::Arc;

use emcee_api::istio::{DestinationRule, PeerAuthentication, WorkloadEntry};
use emcee_api::labels::is_managed_by_emcee;
use emcee_api::{API_VERSION, GROUP};
use emcee_core::inputs::{self, ParsedResource};
use emcee_core::inputs::{
    ClusterNode, Credential, EndpointSlice, InputChange, Service, UserDestinationRule, Workload, WorkloadKind,
};
use emcee_core::key::{ObjectKey, ObjectRef};
use emcee_core::parse::{self, FedConfig};
use emcee_core::problem;
use emcee_yaml::{FileProblem, ManifestDocument};
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice as Slice;
use k8s_openapi::api::{apps, core};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Namespace of an object that does not name one, as for kubectl.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Inputs for the core, as read from documents.
#[derive(Default)]
pub struct DocumentInputs {
    /// Changes for the core, in the order of the documents.
    pub changes: Vec<InputChange>,
    /// Problems of single objects, with file and line.
    pub refusals: Vec<FileProblem>,
    /// Objects of kinds that Emcee does not read.
    pub skipped: Vec<FileProblem>,
    /// Documents of the users' resources, and of Services that are exposed by labels. Also contains refused resources.
    pub resources: HashMap<ObjectRef, ManifestDocument>,
    /// TLS Secrets that could be read, with their documents.
    pub credentials: Vec<(ManifestDocument, Credential)>,
}

impl DocumentInputs {
    /// Reads the documents. If two documents describe the same object, the later one takes precedence.
    pub fn from_documents(documents: &[ManifestDocument], cluster_domain: &str) -> Self {
        let mut inputs = Self::default();
        for document in documents {
            inputs.add_document(document, cluster_domain);
        }
        inputs
    }

    /// The valid MeshFedConfigs among the documents.
    pub fn fed_configs(&self) -> impl Iterator<Item = &Arc<FedConfig>> {
        self.changes.iter().filter_map(|change| match change {
            InputChange::FedConfig(_, Some(Ok(config))) => Some(config),
            _ => None,
        })
    }

    /// Problems of the Secrets that a MeshFedConfig selects, at the lines of the Secrets.
    ///
    /// `others` are MeshFedConfigs in use that are missing from these documents, or that are invalid in them.
    pub fn credential_problems(&self, others: &[Arc<FedConfig>], now: Timestamp) -> Vec<FileProblem> {
        let selected = self.credentials.iter().filter(|(_, credential)| {
            self.fed_configs().chain(others).any(|config| selects_credential(config, credential))
        });
        let problem = |(document, credential): &(ManifestDocument, Credential)| {
            // Depends on the time: a certificate expires without a change of its Secret.
            let (field, message) = credential.problem_at(now)?;
            Some(document.problem_at(Some(&field), message))
        };
        selected.filter_map(problem).collect()
    }

    /// Reads one document. An object whose name Kubernetes would not accept is refused and contributes no change.
    fn add_document(&mut self, document: &ManifestDocument, cluster_domain: &str) {
        self.refusals.extend(metadata_problem(document));
        // Only the changes that this document has added are checked.
        let before = self.changes.len();
        self.read_document(document, cluster_domain);
        for change in self.changes.split_off(before) {
            match change.name_problem() {
                Some(problem) => self.refusals.push(locate_problem(document, &problem)),
                None => self.changes.push(change),
            }
        }
    }

    /// Adds the changes of a document, according to its kind.
    fn read_document(&mut self, document: &ManifestDocument, cluster_domain: &str) {
        let key = document_key(document);
        match (document.group(), document.kind.as_str()) {
            (GROUP, kind) => self.add_resource(document, kind, key),
            ("", "Service") => self.add_service(document, key),
            ("", "Node") => {
                self.add_object::<core::v1::Node>(document, |object| {
                    Some(InputChange::Node(key.name, Some(ClusterNode::from_object(object))))
                });
            }
            ("", "Pod") => self.add_object::<core::v1::Pod>(document, |object| {
                Some(InputChange::Workload(WorkloadKind::Pod, key, Workload::from_pod(object)))
            }),
            ("apps", "Deployment") => self.add_object::<apps::v1::Deployment>(document, |object| {
                Some(InputChange::Workload(WorkloadKind::Deployment, key, Workload::from_deployment(object)))
            }),
            ("discovery.k8s.io", "EndpointSlice") => self.add_object::<Slice>(document, |object| {
                Some(InputChange::EndpointSlice(key, EndpointSlice::from_object(object)))
            }),
            ("security.istio.io", "PeerAuthentication") => {
                self.add_object::<PeerAuthentication>(document, |object| {
                    Some(InputChange::PeerAuthentication(
                        key,
                        Some(inputs::PeerAuthentication::from_object(object)),
                    ))
                });
            }
            ("networking.istio.io", "DestinationRule") => {
                self.add_object::<DestinationRule>(document, |object| {
                    // A file does not record who applied the object, so only the label can tell.
                    let is_own = is_managed_by_emcee(object.metadata.labels.as_ref());
                    let rule = (!is_own).then(|| UserDestinationRule::from_object(object, cluster_domain));
                    Some(InputChange::DestinationRule(key, rule))
                });
            }
            ("networking.istio.io", "WorkloadEntry") => {
                self.add_object::<WorkloadEntry>(document, |object| {
                    Some(InputChange::WorkloadEntry(key, Some(inputs::WorkloadEntry::from_object(object))))
                });
            }
            ("", "Secret") => {
                // Its existence is enough: Istio then takes the CA of the credential from it, whatever it contains.
                if inputs::is_ca_secret_name(&key.name) {
                    self.changes.push(InputChange::CaSecret(key.clone(), true));
                }
                self.add_secret(document, key);
            }
            // Users write Namespaces next to their resources, so they are not reported as skipped.
            ("", "Namespace") => {}
            // Other products have a kind ServiceBinding as well: only a group similar to Emcee's is a mistake.
            (group, kind) if is_own_kind(kind) && (kind != "ServiceBinding" || is_misspelt(group)) => {
                let message = format!("{group:?} is not the group of {} ({API_VERSION})", document.kind);
                self.refusals.push(document.problem_at(Some("apiVersion"), message));
            }
            _ => self.skipped.push(document.problem_at(None, "skipped: Emcee does not read this kind")),
        }
    }

    /// Adds a resource of Emcee's own group.
    fn add_resource(&mut self, document: &ManifestDocument, kind: &str, key: ObjectKey) {
        // From here on `kind` is `'static`, as an ObjectRef needs it.
        let kind = match kind {
            "MeshFedConfig" => "MeshFedConfig",
            "ServiceExposition" => "ServiceExposition",
            "ServiceBinding" => "ServiceBinding",
            _ => {
                let message = format!(
                    "{GROUP} has no kind {kind:?} (MeshFedConfig, ServiceExposition or ServiceBinding)"
                );
                self.refusals.push(document.problem_at(Some("kind"), message));
                return;
            }
        };
        if document.api_version != API_VERSION {
            let message =
                format!("{:?} is not a version that Emcee reads ({API_VERSION})", document.api_version);
            self.refusals.push(document.problem_at(Some("apiVersion"), message));
            return;
        }
        let value = with_default_namespace(document);
        let change = match kind {
            "MeshFedConfig" => InputChange::FedConfig(
                key.clone(),
                Some(self.collect_refusals(document, parse::read_fed_config(&value))),
            ),
            "ServiceExposition" => InputChange::Exposition(
                key.clone(),
                Some(self.collect_refusals(document, parse::read_exposition(&value))),
            ),
            _ => InputChange::Binding(
                key.clone(),
                Some(self.collect_refusals(document, parse::read_binding(&value))),
            ),
        };
        // `parse` has reported an invalid name with all other problems; do not report it again.
        if change.name_problem().is_none() {
            self.changes.push(change);
        }
        self.resources.insert(ObjectRef { kind, key }, document.clone());
    }

    /// Adds the problems of a resource to the refusals.
    fn collect_refusals<T>(
        &mut self,
        document: &ManifestDocument,
        parsed: Result<T, Vec<problem::ResourceProblem>>,
    ) -> ParsedResource<T> {
        if let Err(problems) = &parsed {
            self.refusals.extend(problems.iter().map(|problem| locate_problem(document, problem)));
        }
        parsed.map(Arc::new)
    }

    /// Adds an object that is not a resource of Emcee's. `change` returns `None` if the object is not relevant.
    fn add_object<K: DeserializeOwned>(
        &mut self,
        document: &ManifestDocument,
        change: impl FnOnce(&K) -> Option<InputChange>,
    ) {
        if let Some(object) = self.deserialize_as::<K>(document) {
            self.changes.extend(change(&object));
        }
    }

    fn add_service(&mut self, document: &ManifestDocument, key: ObjectKey) {
        let Some(service) = self.deserialize_as::<core::v1::Service>(document) else { return };
        if let Some(problem) = inputs::ports_problem(&service) {
            self.refusals.push(locate_problem(document, &problem));
            return;
        }
        let service = Service::from_object(&service);
        // Labels expose a Service, and the problems of that exposition need the line of the Service.
        if service.expose_request.is_some() {
            self.resources.insert(ObjectRef { kind: "Service", key: key.clone() }, document.clone());
        }
        self.changes.push(InputChange::Service(key, Some(service)));
    }

    fn add_secret(&mut self, document: &ManifestDocument, key: ObjectKey) {
        let Some(secret) = self.deserialize_as::<core::v1::Secret>(document) else { return };
        let credential = Credential::from_secret(&secret);
        self.credentials.extend(credential.clone().map(|credential| (document.clone(), credential)));
        self.changes.push(InputChange::Credential(key, credential));
    }

    /// Deserializes a document. Refuses it at the field that does not fit.
    fn deserialize_as<K: DeserializeOwned>(&mut self, document: &ManifestDocument) -> Option<K> {
        match serde_path_to_error::deserialize(with_default_namespace(document)) {
            Ok(object) => Some(object),
            Err(error) => {
                let path = error.path().to_string();
                let field = Some(path.as_str()).filter(|path| *path != ".");
                // Never quote the content of a Secret: a private key may be in the wrong field.
                let message = match document.kind.as_str() {
                    "Secret" => "cannot be read as this field of a Secret (data is a map to base64, stringData to text)".to_owned(),
                    _ => problem::describe_type_error(&error.inner().to_string()),
                };
                self.refusals.push(document.problem_at(field, message));
                None
            }
        }
    }
}

/// Whether a MeshFedConfig selects a Secret: in its namespace, by `spec.tls_context_selector`.
fn selects_credential(config: &FedConfig, credential: &Credential) -> bool {
    config.identity.key.namespace == credential.key.namespace
        && config.tls_context.as_ref().is_some_and(|selector| credential.has_labels(selector))
}

/// Whether an API group is probably a misspelling of Emcee's group.
fn is_misspelt(group: &str) -> bool {
    // The distance takes quadratic time, so long groups are not compared.
    group.contains("emcee") || (group.len() < 64 && strsim::damerau_levenshtein(group, GROUP) <= 4)
}

/// Whether Emcee has a kind of this name.
fn is_own_kind(kind: &str) -> bool {
    matches!(kind, "MeshFedConfig" | "ServiceExposition" | "ServiceBinding")
}

/// Fields of `metadata`, of all versions of Kubernetes. The API server refuses others, unless kubectl is told not to
/// validate.
const METADATA_FIELDS: [&str; 17] = [
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "initializers",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Returns a problem for a field of `metadata` that does not exist: the labels in `metadata.lables` would be lost.
fn metadata_problem(document: &ManifestDocument) -> Option<FileProblem> {
    let fields = document.value.get("metadata")?.as_object()?;
    let unknown = fields.keys().find(|field| !METADATA_FIELDS.contains(&field.as_str()))?;
    // Names of fields are short; a longer one is no typo.
    let near = METADATA_FIELDS.iter().filter(|_| unknown.len() < 64).min_by_key(|known| {
        strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &unknown.to_ascii_lowercase())
    })?;
    let message = if strsim::damerau_levenshtein(near, unknown) <= 3 {
        format!("unknown field (did you mean `{near}`?)")
    } else {
        "unknown field (name, namespace, labels, annotations and the fields that Kubernetes sets)".to_owned()
    };
    Some(document.problem_at(Some(&format!("metadata.{unknown}")), message))
}

/// Namespace and name of a document, with the default namespace if it names none.
pub fn document_key(document: &ManifestDocument) -> ObjectKey {
    ObjectKey::new(document.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE), &document.name)
}

/// Adds the file, and the line of the field, to a problem that the core has found.
pub fn locate_problem(document: &ManifestDocument, problem: &problem::ResourceProblem) -> FileProblem {
    document
        .problem_at(Some(problem.field.as_str()).filter(|field| !field.is_empty()), problem.message.clone())
}

fn with_default_namespace(document: &ManifestDocument) -> Value {
    let mut value = document.value.clone();
    if document.namespace.is_none()
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("namespace".into(), json!(DEFAULT_NAMESPACE));
    }
    value
}
