//! What `emcee manifests` prints: enough rights for the controller, and no more.

use std::process::Command;

use emcee_core::plan::Kind;
use serde_json::Value;

fn manifests(args: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_emcee")).arg("manifests").args(args).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// Each granted (group, resource, verb), and where: the whole cluster or a namespace.
fn grants(objects: &[Value]) -> Vec<(String, String, String, String)> {
    let bindings = objects.iter().filter(|o| o["subjects"][0]["name"] == "emcee");
    let mut grants = Vec::new();
    for binding in bindings {
        let namespace = binding["metadata"]["namespace"].as_str().unwrap_or("*").to_owned();
        let role = &binding["roleRef"];
        let of_role = |o: &&Value| o["kind"] == role["kind"] && o["metadata"]["name"] == role["name"];
        let role = objects.iter().find(of_role).expect("what is bound is there");
        for rule in role["rules"].as_array().expect("rules") {
            let list = |field: &str| {
                let words = rule[field].as_array().expect("a list").iter();
                words.map(|word| word.as_str().expect("a word").to_owned()).collect::<Vec<_>>()
            };
            for resource in list("resources") {
                for verb in list("verbs") {
                    grants.push((list("apiGroups")[0].clone(), resource.clone(), verb, namespace.clone()));
                }
            }
        }
    }
    grants
}

#[test]
fn every_generated_kind_can_be_written_where_it_is_generated() {
    let grants = grants(&manifests(&["rbac", "--fed-namespaces", "blue"]));
    for kind in Kind::ALL {
        let namespace = if kind.holds_keys() { "blue" } else { "*" };
        for verb in ["get", "list", "watch", "create", "patch", "delete"] {
            let wanted = (kind.group().into(), kind.plural().into(), verb.into(), namespace.into());
            assert!(grants.contains(&wanted), "{wanted:?}");
        }
    }
}

#[test]
fn secrets_are_read_only_where_it_is_said() {
    let secrets = |args: &[&str]| {
        let grants = grants(&manifests(args));
        let mut places: Vec<_> = grants.into_iter().filter(|g| g.1 == "secrets").map(|g| g.3).collect();
        places.dedup();
        places
    };
    assert!(secrets(&["rbac"]).is_empty());
    assert_eq!(secrets(&["rbac", "--fed-namespaces", "blue,red"]), ["blue", "red"]);
    let both = secrets(&["rbac", "--fed-namespaces", "blue", "--gateway-namespaces", "istio-system"]);
    assert_eq!(both, ["blue", "istio-system"]);
    assert_eq!(secrets(&["rbac", "--fed-namespaces", "*"]), ["*"]);
}

#[test]
fn no_right_is_a_wildcard_and_none_escalates() {
    for (group, resource, verb, place) in grants(&manifests(&["rbac", "--fed-namespaces", "*"])) {
        assert!(
            !verb.contains('*') && !resource.contains('*') && !group.contains('*'),
            "{group} {resource} {verb}"
        );
        assert!(
            !["escalate", "bind", "impersonate"].contains(&verb.as_str()),
            "{resource} {verb} in {place}"
        );
    }
}

#[test]
fn with_watched_namespaces_nothing_is_granted_elsewhere() {
    let args = ["rbac", "--watch-namespaces", "shop,bank", "--fed-namespaces", "blue"];
    let mut places: Vec<_> = grants(&manifests(&args)).into_iter().map(|grant| grant.3).collect();
    places.sort();
    places.dedup();
    assert_eq!(places, ["bank", "blue", "emcee-system", "istio-system", "shop"]);
}

#[test]
fn teams_may_not_write_relationships() {
    let objects = manifests(&["rbac"]);
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
    assert!(labels.keys().all(|label| !label.contains("aggregate")), "a namespace's admin would gain it");
}

#[test]
fn the_pod_is_confined_and_its_arguments_are_those_of_run() {
    let objects = manifests(&["deployment", "--fed-namespaces", "blue", "--revision", "canary"]);
    let deployment = objects.iter().find(|o| o["kind"] == "Deployment").expect("a Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    let help = Command::new(env!("CARGO_BIN_EXE_emcee")).args(["run", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for argument in container["args"].as_array().expect("arguments").iter().skip(1) {
        let flag = argument.as_str().expect("text").split('=').next().expect("a flag");
        assert!(help.contains(flag), "emcee run has no {flag}");
    }
}
