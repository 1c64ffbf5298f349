//! Converts arguments into a request. Collects all refusals, so one does not hide another.

use std::collections::{BTreeMap, BTreeSet};

use emcee_api::labels::{MANAGED_BY, MANAGED_BY_EMCEE};
use emcee_core::names::RESERVED_RELATIONSHIP;
use time::Duration;

use super::{CertsArgs, CertsError, KeyType, names};

/// The request of the user. It is valid in itself, but not yet checked against the contents of the folder.
pub(super) struct CertsRequest {
    pub(super) relationship: String,
    pub(super) namespace: Option<String>,
    /// Labels for the Secrets of all meshes, without the default label.
    pub(super) labels: SecretLabels,
    pub(super) meshes: BTreeMap<String, MeshRequest>,
    pub(super) validity: ValidityPeriod,
    pub(super) ca_validity: ValidityPeriod,
    pub(super) key_type: KeyType,
}

pub(super) type SecretLabels = BTreeMap<String, String>;

/// The request for one mesh. In a rotation, a field that is `None` keeps its old value.
#[derive(Default)]
pub(super) struct MeshRequest {
    pub(super) names: Option<Vec<String>>,
    pub(super) spiffe: Option<String>,
    pub(super) labels: SecretLabels,
    pub(super) rotate: bool,
}

/// A period, with the text that the user typed.
#[derive(Default)]
pub(super) struct ValidityPeriod {
    pub(super) typed: String,
    pub(super) length: Duration,
}

impl CertsRequest {
    pub(super) fn from_args(args: &CertsArgs) -> Result<Self, CertsError> {
        let mut reader = RequestParser::default();
        reader.check_relationship(&args.relationship);
        // Before SPIFFE IDs and labels, which may refer only to a mesh of `--mesh` or `--rotate`.
        reader.parse_meshes(args);
        reader.parse_spiffe_ids(args);
        reader.parse_labels(args);
        if let Some(namespace) = &args.namespace {
            reader.record_check("--namespace", namespace, names::check_dns_label(namespace));
        }
        let validity = reader.parse_period("--validity", &args.validity);
        let ca_validity = reader.parse_period("--ca-validity", &args.ca_validity);
        CertsError::refuse_if_any(reader.refusals)?;
        Ok(Self {
            relationship: args.relationship.clone(),
            namespace: args.namespace.clone(),
            labels: reader.labels,
            meshes: reader.meshes,
            validity,
            ca_validity,
            key_type: args.key_type,
        })
    }
}

/// Parses arguments and collects refusals.
#[derive(Default)]
struct RequestParser {
    meshes: BTreeMap<String, MeshRequest>,
    labels: SecretLabels,
    refusals: Vec<CertsError>,
}

impl RequestParser {
    fn refuse(&mut self, option: &'static str, value: &str, problem: impl Into<String>) {
        self.refusals.push(CertsError::Argument { option, value: value.to_owned(), problem: problem.into() });
    }

    /// Records the problem of a check. Returns whether the value is valid.
    fn record_check(&mut self, option: &'static str, value: &str, result: Result<(), String>) -> bool {
        result.map_err(|problem| self.refuse(option, value, problem)).is_ok()
    }

    fn check_relationship(&mut self, name: &str) {
        if name == RESERVED_RELATIONSHIP {
            let problem = "is reserved for the hosts of bindings (NAME.NAMESPACE.binding.emcee.internal); choose another name";
            self.refuse("--relationship", name, problem);
        } else {
            self.record_check("--relationship", name, names::check_dns_label(name));
        }
    }

    fn parse_meshes(&mut self, args: &CertsArgs) {
        for given in &args.meshes {
            self.parse_mesh(given);
        }
        for mesh in &args.rotate {
            if self.record_check("--rotate", mesh, names::check_dns_label(mesh)) {
                self.meshes.entry(mesh.clone()).or_default().rotate = true;
            }
        }
        if args.meshes.is_empty() && args.rotate.is_empty() {
            self.refuse("--mesh", "", "name at least one mesh: --mesh m1=m1.blue.example");
        }
        self.refuse_shared_names();
    }

    fn parse_mesh(&mut self, given: &str) {
        let Some((mesh, dns)) = given.split_once('=') else {
            return self.refuse("--mesh", given, "must be MESH=DNS-NAME[,DNS-NAME…]");
        };
        let names: Vec<String> = dns.split(',').map(str::to_owned).collect();
        let label_fits = self.record_check("--mesh", given, names::check_dns_label(mesh));
        let unfit = names
            .iter()
            .filter(|name| !self.record_check("--mesh", given, names::check_dns_name(name)))
            .count();
        if !label_fits || unfit > 0 {
            // Record the mesh anyway. Otherwise its --label and --spiffe would be refused as well, which confuses.
            self.meshes.entry(mesh.to_owned()).or_default();
            return;
        }
        if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            self.refuse("--mesh", given, "has a name twice");
        }
        if self.meshes.get(mesh).is_some_and(|known| known.names.is_some()) {
            let problem =
                format!("{mesh:?} is given twice; all its names go into one: --mesh {mesh}=NAME,NAME");
            return self.refuse("--mesh", given, problem);
        }
        self.meshes.entry(mesh.to_owned()).or_default().names = Some(names);
    }

    /// Refuses names that two meshes share: peers identify a mesh by its names.
    fn refuse_shared_names(&mut self) {
        let mut owners = BTreeMap::<&str, &str>::new();
        // The loop borrows `meshes`, so record the refusals after it.
        let mut taken = Vec::new();
        for (mesh, request) in &self.meshes {
            for name in request.names.iter().flatten() {
                if let Some(other) = owners.insert(name, mesh).filter(|other| other != mesh) {
                    taken.push((
                        name.clone(),
                        format!("is given to {other:?} and to {mesh:?}; each mesh needs names of its own"),
                    ));
                }
            }
        }
        for (name, problem) in taken {
            self.refuse("--mesh", &name, problem);
        }
    }

    fn parse_spiffe_ids(&mut self, args: &CertsArgs) {
        let mut owners = BTreeMap::<&str, &str>::new();
        for given in &args.spiffe {
            let Some((mesh, id)) = given.split_once('=') else {
                self.refuse("--spiffe", given, "must be MESH=spiffe://TRUST-DOMAIN/PATH");
                continue;
            };
            if !self.record_check("--spiffe", given, names::check_spiffe_id(id))
                || !self.require_mesh("--spiffe", given, mesh)
            {
                continue;
            }
            if let Some(other) = owners.insert(id, mesh).filter(|other| *other != mesh) {
                self.refuse(
                    "--spiffe",
                    given,
                    format!("mesh {other:?} has the same one; each mesh needs its own"),
                );
            }
            if self.meshes.entry(mesh.to_owned()).or_default().spiffe.replace(id.to_owned()).is_some() {
                self.refuse(
                    "--spiffe",
                    given,
                    format!("{mesh:?} has one already; a certificate carries one SPIFFE ID"),
                );
            }
        }
    }

    fn parse_labels(&mut self, args: &CertsArgs) {
        for given in &args.labels {
            let Some((key, value)) = given.split_once('=') else {
                self.refuse("--label", given, "must be KEY=VALUE, or MESH:KEY=VALUE for one mesh");
                continue;
            };
            let (mesh, key) = key.split_once(':').map_or((None, key), |(mesh, key)| (Some(mesh), key));
            // All checks have to pass in this order; the first failure is the one that is reported.
            let fits = self.record_check(
                "--label",
                given,
                names::check_label_key(key).and_then(|()| check_not_managed(key, value)),
            ) && self.record_check("--label", given, names::check_label_value(value))
                && mesh.is_none_or(|mesh| self.require_mesh("--label", given, mesh));
            if fits && self.labels_for(mesh).insert(key.to_owned(), value.to_owned()).is_some() {
                self.refuse("--label", given, format!("{key:?} is given twice"));
            }
        }
    }

    fn labels_for(&mut self, mesh: Option<&str>) -> &mut SecretLabels {
        match mesh {
            Some(mesh) => &mut self.meshes.entry(mesh.to_owned()).or_default().labels,
            None => &mut self.labels,
        }
    }

    /// Refuses an argument for a mesh that is in no `--mesh` or `--rotate`. Returns whether the mesh is known.
    fn require_mesh(&mut self, option: &'static str, given: &str, mesh: &str) -> bool {
        let known = self.meshes.contains_key(mesh);
        if !known {
            self.refuse(option, given, format!("no --mesh or --rotate names mesh {mesh:?}"));
        }
        known
    }

    fn parse_period(&mut self, option: &'static str, typed: &str) -> ValidityPeriod {
        let length = names::parse_period(typed).unwrap_or_else(|problem| {
            self.refuse(option, typed, problem);
            // Never used: the refusal makes the whole request fail.
            Duration::ZERO
        });
        ValidityPeriod { typed: typed.to_owned(), length }
    }
}

/// Refuses labels that mark objects as managed by Emcee. The controller would remove a Secret with such labels.
fn check_not_managed(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with("emcee.io/") || (key == MANAGED_BY && value == MANAGED_BY_EMCEE) {
        return Err(format!("{key:?} marks objects that Emcee creates and removes; choose another label"));
    }
    Ok(())
}
