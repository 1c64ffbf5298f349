//! The output of `emcee manifests` grants the controller the rights that it needs, and no more.

use std::fs;
use std::process::Command;

use clap::CommandFactory as _;
use emcee::cli::Cli;
use emcee::webhook::{PATH, WebhookOptions};
use emcee_core::plan::GeneratedKind;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn print_manifests(args: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_emcee")).arg("manifests").args(args).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// A right that is granted to Emcee.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    group: String,
    resource: String,
    verb: String,
    /// The namespace in which it is granted. `*` means all namespaces.
    namespace: String,
    /// Whether it is limited to named objects.
    named: bool,
}

fn granted_rights(objects: &[Value]) -> Vec<Grant> {
    let mut grants = Vec::new();
    for binding in objects.iter().filter(|o| o["subjects"][0]["name"] == "emcee") {
        let place = binding["metadata"]["namespace"].as_str().unwrap_or("*");
        let role = &binding["roleRef"];
        let of_role = |o: &&Value| o["kind"] == role["kind"] && o["metadata"]["name"] == role["name"];
        let role = objects.iter().find(of_role).expect("an existing role");
        let rules = role["rules"].as_array().expect("rules");
        grants.extend(rules.iter().flat_map(|rule| rights_of_rule(rule, place)));
    }
    grants
}

fn rights_of_rule(rule: &Value, place: &str) -> Vec<Grant> {
    let [groups, resources, verbs] =
        ["apiGroups", "resources", "verbs"].map(|field| string_list(&rule[field]));
    let mut grants = Vec::new();
    for (resource, verb) in resources.iter().flat_map(|r| verbs.iter().map(move |verb| (r, verb))) {
        grants.push(Grant {
            group: groups[0].clone(),
            resource: resource.clone(),
            verb: verb.clone(),
            namespace: place.to_owned(),
            named: rule.get("resourceNames").is_some(),
        });
    }
    grants
}

fn string_list(list: &Value) -> Vec<String> {
    let words = list.as_array().expect("a list").iter();
    words.map(|word| word.as_str().expect("a word").to_owned()).collect()
}

/// Returns the namespaces in which Emcee has all of these rights to a kind.
fn namespaces_with(grants: &[Grant], kind: GeneratedKind, verbs: &[&str]) -> Vec<String> {
    let has = |place: &str, verb: &str| {
        grants.iter().any(|g| {
            g.resource == kind.plural()
                && g.group == kind.group()
                && g.namespace == place
                && g.verb == verb
                && !g.named
        })
    };
    let mut all: Vec<_> = grants.iter().map(|grant| grant.namespace.clone()).collect();
    all.sort();
    all.dedup();
    all.into_iter().filter(|place| verbs.iter().all(|verb| has(place, verb))).collect()
}

#[test]
fn every_generated_kind_can_be_written_in_its_namespace() {
    let grants = granted_rights(&print_manifests(&["rbac", "--fed-namespaces", "blue"]));
    for kind in GeneratedKind::ALL {
        let of_mesh = match kind {
            GeneratedKind::ServiceAccount
            | GeneratedKind::Role
            | GeneratedKind::RoleBinding
            | GeneratedKind::Secret
            | GeneratedKind::NetworkPolicy
            | GeneratedKind::PodDisruptionBudget
            | GeneratedKind::Deployment => false,
            GeneratedKind::AuthorizationPolicy
            | GeneratedKind::DestinationRule
            | GeneratedKind::ServiceEntry
            | GeneratedKind::Service
            | GeneratedKind::VirtualService
            | GeneratedKind::Gateway
            | GeneratedKind::ServiceExposition
            | GeneratedKind::ServiceBinding => true,
        };
        let written = namespaces_with(&grants, kind, &["get", "list", "watch", "create", "patch", "delete"]);
        assert_eq!(written, [if of_mesh { "*" } else { "blue" }], "{kind:?}");
        // The controller watches its own objects in the whole cluster, except for those that contain keys.
        let watched = namespaces_with(&grants, kind, &["list", "watch"]).contains(&"*".to_owned());
        assert_eq!(watched, !kind.holds_keys(), "{kind:?}");
    }
}

/// A user who can create a pod can read every Secret in its namespace.
#[test]
fn pods_can_be_created_only_where_secrets_can_be_read() {
    for args in [&["rbac"][..], &["rbac", "--fed-namespaces", "blue,red"], &["rbac", "--fed-namespaces", "*"]]
    {
        let grants = granted_rights(&print_manifests(args));
        for verb in ["create", "patch"] {
            let secrets = namespaces_with(&grants, GeneratedKind::Secret, &["get"]);
            assert_eq!(
                namespaces_with(&grants, GeneratedKind::Deployment, &[verb]),
                secrets,
                "{args:?} {verb}"
            );
        }
    }
}

#[test]
fn secrets_can_be_read_only_in_given_namespaces() {
    let secrets = |args: &[&str]| {
        namespaces_with(&granted_rights(&print_manifests(args)), GeneratedKind::Secret, &["get"])
    };
    assert!(secrets(&["rbac"]).is_empty());
    assert_eq!(secrets(&["rbac", "--fed-namespaces", "blue,red"]), ["blue", "red"]);
    let both = secrets(&["rbac", "--fed-namespaces", "blue", "--gateway-namespaces", "istio-system"]);
    assert_eq!(both, ["blue", "istio-system"]);
    assert_eq!(secrets(&["rbac", "--fed-namespaces", "*"]), ["*"]);
}

/// The rights to the Secret and to the configuration are limited by name.
#[test]
fn a_webhook_adds_rights_to_its_own_objects_only() {
    let of = |switch: &str| granted_rights(&print_manifests(&["rbac", "--webhook", switch]));
    let (without, with) = (of("off"), of("on"));
    let added: Vec<_> = with.into_iter().filter(|grant| !without.contains(grant)).collect();
    let wide: Vec<_> = added.iter().filter(|grant| !grant.named).collect();
    assert!(
        matches!(&wide[..], [g] if g.verb == "create" && g.resource == "secrets" && g.namespace == "emcee-system")
    );
    let of_configurations = |g: &Grant| g.resource == "validatingwebhookconfigurations" && g.verb == "patch";
    assert!(added.iter().any(|grant| of_configurations(grant) && grant.named));
}

#[test]
fn no_right_is_a_wildcard_and_none_escalates() {
    for grant in granted_rights(&print_manifests(&["rbac", "--fed-namespaces", "*"])) {
        let Grant { group, resource, verb, .. } = &grant;
        assert!([group, resource, verb].iter().all(|word| !word.contains('*')), "{grant:?}");
        assert!(!["escalate", "bind", "impersonate"].contains(&verb.as_str()), "{grant:?}");
    }
}

#[test]
fn with_watched_namespaces_nothing_is_granted_elsewhere() {
    let args = ["rbac", "--watch-namespaces", "shop,bank", "--fed-namespaces", "blue", "--webhook", "off"];
    let mut places: Vec<_> =
        granted_rights(&print_manifests(&args)).into_iter().map(|grant| grant.namespace).collect();
    places.sort();
    places.dedup();
    assert_eq!(places, ["bank", "blue", "emcee-system", "istio-system", "shop"]);
}

/// A user who may deploy in some namespace may expose its Services to another company only if the operator says so.
#[test]
fn the_role_of_teams_is_part_of_edit_only_on_request() {
    let is_aggregated = |objects: &[Value]| {
        objects.iter().any(|object| {
            object["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
        })
    };
    assert!(!is_aggregated(&print_manifests(&["all"])));
    let objects = print_manifests(&["rbac", "--aggregate-user-role", "on"]);
    assert!(is_aggregated(&objects));
    let rules = |name: &str| {
        let role = objects.iter().find(|object| object["metadata"]["name"] == name).expect("a role");
        role["rules"].clone()
    };
    assert_eq!(rules("emcee-user"), rules("emcee-user-aggregated"));
}

#[test]
fn teams_cannot_write_relationships() {
    let objects = print_manifests(&["rbac"]);
    let role =
        |name: &str| objects.iter().find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == name);
    let user = role("emcee-user").expect("a role for teams");
    for rule in user["rules"].as_array().expect("rules") {
        let of_relationships =
            rule["resources"].as_array().expect("a list").contains(&"meshfedconfigs".into());
        let writes = rule["verbs"].as_array().expect("a list").contains(&"create".into());
        assert!(!(of_relationships && writes), "{rule}");
    }
    let admin = role("emcee-admin").expect("a role for administrators");
    let labels = admin["metadata"]["labels"].as_object().expect("labels");
    assert!(
        labels.keys().all(|label| !label.contains("aggregate")),
        "the admin of a namespace would get this role"
    );
}

/// Emcee reports in a status and restores its state from it. A team that can write a status could impersonate Emcee.
#[test]
fn teams_cannot_write_a_status() {
    let objects = print_manifests(&["all", "--fed-namespaces", "*"]);
    let roles = objects.iter().filter(|o| o["kind"] == "ClusterRole");
    let of_teams =
        roles.filter(|o| o["metadata"]["name"] == "emcee-user" || o["metadata"]["name"] == "emcee-viewer");
    let granted: Vec<_> = of_teams.flat_map(|role| role["rules"].as_array().expect("rules")).collect();
    assert!(granted.len() >= 2);
    for rule in granted {
        let writes =
            string_list(&rule["verbs"]).iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
        // `*` would include subresources.
        let beyond = string_list(&rule["resources"]).iter().any(|name| name.contains(['/', '*']));
        assert!(!(writes && beyond), "{rule}");
    }
    // Without the subresource, users who can write a resource can write its status.
    let crds: Vec<_> = objects.iter().filter(|o| o["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(crds.len(), 3);
    for version in crds.iter().flat_map(|crd| crd["spec"]["versions"].as_array().expect("versions")) {
        assert!(version["subresources"]["status"].is_object(), "{version}");
    }
}

/// Fields that Kubernetes does not know would be lost.
#[test]
fn kubernetes_knows_every_field() {
    let whole = [
        "all",
        "--fed-namespaces",
        "blue",
        "--gateway-namespaces",
        "gw",
        "--revision",
        "canary",
        "--cluster-networks",
        "10.96.0.0/12",
    ];
    for object in print_manifests(&whole) {
        let read = match object["kind"].as_str().expect("a kind") {
            "CustomResourceDefinition" => continue,
            "Namespace" => round_trip::<Namespace>(&object),
            "ServiceAccount" => round_trip::<ServiceAccount>(&object),
            "ClusterRole" => round_trip::<ClusterRole>(&object),
            "ClusterRoleBinding" => round_trip::<ClusterRoleBinding>(&object),
            "Role" => round_trip::<Role>(&object),
            "RoleBinding" => round_trip::<RoleBinding>(&object),
            "PodDisruptionBudget" => round_trip::<PodDisruptionBudget>(&object),
            "NetworkPolicy" => round_trip::<NetworkPolicy>(&object),
            "Service" => round_trip::<Service>(&object),
            "Deployment" => round_trip::<Deployment>(&object),
            "ValidatingWebhookConfiguration" => round_trip::<ValidatingWebhookConfiguration>(&object),
            kind => unreachable!("{kind} has no type in this test"),
        };
        assert_eq!(read, object);
    }
}

fn round_trip<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let object: K = serde_json::from_value(object.clone()).expect("an object of its kind");
    serde_json::to_value(object).expect("JSON")
}

#[test]
fn the_pod_is_restricted_and_its_arguments_are_valid() {
    let gateways = [
        "--gateway-namespaces",
        "istio-system",
        "--cluster-networks",
        "10.96.0.0/12,10.244.0.0/16,fd00::/64",
    ];
    let objects = print_manifests(
        &[&["deployment", "--fed-namespaces", "blue", "--revision", "canary"], &gateways[..]].concat(),
    );
    let pod = &object_of_kind(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    let arguments = string_list(&container["args"]);
    assert!(arguments.iter().any(|it| it == "--cluster-networks=10.96.0.0/12,10.244.0.0/16,fd00::/64"));
    assert_valid_command(&arguments);
}

/// Asserts that the arguments are a valid command line.
fn assert_valid_command(arguments: &[String]) {
    let arguments = ["emcee"].into_iter().chain(arguments.iter().map(String::as_str));
    Cli::command().try_get_matches_from(arguments).expect("valid arguments");
}

#[test]
fn no_fed_namespaces_are_passed_as_an_empty_flag() {
    let objects = print_manifests(&["deployment"]);
    let container = &object_of_kind(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let arguments = string_list(&container["args"]);
    assert!(
        arguments.contains(&"--fed-namespaces=".to_owned()),
        "without the flag, `emcee run` uses all namespaces"
    );
    assert_valid_command(&arguments);
}

#[test]
fn every_port_is_served_and_allowed_by_the_network_policy() {
    for (webhook, discovery, ports) in [
        ("on", "on", &[8080, 9443, 15443][..]),
        ("off", "on", &[8080, 15443]),
        ("on", "off", &[8080, 9443]),
        ("off", "off", &[8080]),
    ] {
        let objects = print_manifests(&["deployment", "--webhook", webhook, "--discovery", discovery]);
        let container = &object_of_kind(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let numbers = |list: &Value, field: &str| {
            let numbers =
                list.as_array().expect("a list").iter().map(|port| port[field].as_u64().expect("a port"));
            numbers.collect::<Vec<_>>()
        };
        assert_eq!(numbers(&container["ports"], "containerPort"), ports);
        let policy = &object_of_kind(&objects, "NetworkPolicy")["spec"]["ingress"][0];
        assert_eq!(numbers(&policy["ports"], "port"), ports);
    }
}

#[test]
fn the_webhook_matches_the_options_of_the_server() {
    let objects = print_manifests(&["webhook", "--namespace", "mesh"]);
    let options = WebhookOptions::for_namespace("mesh");
    let configuration = object_of_kind(&objects, "ValidatingWebhookConfiguration");
    assert_eq!(configuration["metadata"]["name"], options.configuration);
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    let service = &webhook["clientConfig"]["service"];
    assert_eq!(
        (&service["name"], &service["namespace"]),
        (&options.service.into(), &options.namespace.into())
    );
    assert_eq!(service["path"], PATH);
    let found = object_of_kind(&objects, "Service");
    assert_eq!(
        (&found["metadata"]["name"], &found["metadata"]["namespace"]),
        (&service["name"], &service["namespace"])
    );
    assert_eq!(found["spec"]["ports"][0]["targetPort"], 9443);
    let plurals: Vec<_> =
        emcee_api::custom_resource_definitions().into_iter().map(|crd| crd.spec.names.plural).collect();
    assert_eq!(string_list(&webhook["rules"][0]["resources"]), plurals);
}

#[test]
fn selectors_match_the_labels_of_the_pods() {
    let objects = print_manifests(&["all", "--fed-namespaces", "blue"]);
    let deployment = object_of_kind(&objects, "Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selecting = |object: &Value| match object["kind"].as_str() {
        Some("Service") => Some(object["spec"]["selector"].clone()),
        Some("PodDisruptionBudget" | "Deployment") => Some(object["spec"]["selector"]["matchLabels"].clone()),
        Some("NetworkPolicy") => Some(object["spec"]["podSelector"]["matchLabels"].clone()),
        _ => None,
    };
    let selectors: Vec<_> = objects.iter().filter_map(selecting).collect();
    assert_eq!(selectors.len(), 6);
    for selector in selectors {
        for (label, value) in selector.as_object().expect("labels") {
            assert_eq!(&labels[label], value);
        }
    }
}

#[test]
fn the_hook_of_the_chart_runs_a_valid_command() {
    let made = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    let status = command.args(["manifests", "chart", "-o"]).arg(made.path()).status();
    assert!(status.expect("the program runs").success());
    let text = fs::read_to_string(made.path().join("templates/uninstall.yaml")).expect("a template");
    let plain = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("{{-"))
        .map(fill_template)
        .collect::<Vec<_>>();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&plain.join("\n")).expect("YAML");
    let job = object_of_kind(&objects, "Job");
    assert_eq!(&round_trip::<Job>(job), job);
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");
    assert_valid_command(&string_list(&job["spec"]["template"]["spec"]["containers"][0]["args"]));
}

/// Replaces the template expression in a line with a value.
fn fill_template(line: &str) -> String {
    match line.split_once("{{") {
        Some((before, after)) => {
            let after = after.split_once("}}").expect("a closed expression").1;
            let value = if after.is_empty() && before.ends_with(": ") { "{}" } else { "blue" };
            format!("{before}{value}{after}")
        }
        None => line.to_owned(),
    }
}

fn object_of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).expect(kind)
}
