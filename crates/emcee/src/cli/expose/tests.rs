use emcee_testkit::apiserver::{ApiServer, Fault};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cli::command_test::{CommandOutput, EXPOSITIONS, FEDS, capture_output, parse_args};

const SERVICES: &str = "services";

fn server() -> ApiServer {
    let server = ApiServer::new();
    let peer = |name: &str| Peer::new(name, [&*format!("{name}.example")]);
    server.put(FEDS, flat("blue").peer(peer("m1")).peer(peer("m3")).build());
    server.put(SERVICES, service("default", "reviews").port("http", 9080).port("admin", 9090).build());
    server
}

async fn run_expose(server: &ApiServer, line: &str) -> CommandOutput {
    let args: ExposeArgs = parse_args(line);
    capture_output(async |console: &mut Console<'_>| {
        expose_service(&args, Some(&server.client()), console).await
    })
    .await
}

fn exposition_spec(server: &ApiServer, name: &str) -> Option<Value> {
    Some(server.get(EXPOSITIONS, "default", name)?["spec"].clone())
}

#[tokio::test]
async fn a_port_is_exposed_to_all_peers_of_a_relationship() {
    let server = server();
    let exposed = run_expose(&server, "default/reviews:9080 --to blue").await;
    assert_eq!(exposed.expect_success(), "created: ServiceExposition default/reviews\n");
    let expected =
        json!({"name": "reviews", "port": 9080, "mesh_fed_config_selector": {"fed-config": "blue"}});
    assert_eq!(exposition_spec(&server, "reviews"), Some(expected));
}

#[tokio::test]
async fn flags_set_the_fields_of_the_exposition() {
    let server = server();
    let line = "default/reviews:9090 --to blue --alias critics --subset v2 --peers m1,m3 --no-directory";
    assert_eq!(
        run_expose(&server, line).await.expect_success(),
        "created: ServiceExposition default/critics\n"
    );
    let expected = json!({"name": "reviews", "port": 9090, "mesh_fed_config_selector": {"fed-config": "blue"},
        "alias": "critics", "subset": "v2", "peers": ["m1", "m3"], "directory": false});
    assert_eq!(exposition_spec(&server, "critics"), Some(expected));
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_the_known_names() {
    let server = server();
    for (line, expected) in [
        (
            "default/review:9080 --to blue",
            r#"emcee: there is no Service "review" in namespace default (did you mean reviews? there are: reviews)"#,
        ),
        ("shop/reviews:9080 --to blue", "emcee: there is no Service in namespace shop"),
        (
            "default/reviews:80 --to blue",
            "emcee: Service default/reviews has no port 80 (there are: 9080, 9090)",
        ),
        (
            "default/reviews:9080 --to bleu",
            r#"emcee: there is no relationship "bleu" here (did you mean blue? there are: blue)"#,
        ),
        (
            "default/reviews:9080 --to blue --peers m1,m4",
            r#"emcee: relationship blue has no peer "m4" (did you mean m1? there are: m1, m3)"#,
        ),
        (
            "default/reviews:9080 --to blue --peers m1,m1",
            r#"ServiceExposition default/reviews: spec.peers[1]: "m1" is listed twice"#,
        ),
    ] {
        assert_eq!(run_expose(&server, line).await.expect_refusal(), format!("{expected}\n"));
    }
    assert_eq!(exposition_spec(&server, "reviews"), None);
}

#[tokio::test]
async fn without_access_to_services_a_port_can_still_be_exposed() {
    let server = server();
    server.inject(Fault::code(403).plural(SERVICES));
    run_expose(&server, "default/unseen:1 --to blue").await.expect_success();
    assert!(exposition_spec(&server, "unseen").is_some());
}

#[tokio::test]
async fn a_second_exposition_with_another_spec_needs_another_name() {
    let server = server();
    run_expose(&server, "default/reviews:9080 --to blue").await.expect_success();
    let refusal = run_expose(&server, "default/reviews:9090 --to blue").await.expect_refusal();
    assert!(refusal.contains("exists already with another spec: spec.port: "), "{refusal}");
    run_expose(&server, "default/reviews:9090 --to blue --name reviews-admin").await.expect_success();
}

#[test]
fn a_port_of_a_service_is_written_in_one_way() {
    for (text, expected) in [
        ("reviews:9080", "not NAMESPACE/SERVICE:PORT"),
        ("default/reviews", "not NAMESPACE/SERVICE:PORT"),
        ("default/Reviews:1", "\"Reviews\" is not a DNS label"),
        ("default/reviews:http", "\"http\" is not a port"),
        ("default/reviews:0", "\"0\" is not a port"),
        ("default/reviews:65536", "\"65536\" is not a port"),
    ] {
        let error = text.parse::<ServicePortRef>().expect_err(text);
        assert!(error.starts_with(expected), "{error}");
    }
}
