use emcee_testkit::apiserver::{ApiServer, Fault};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cli::trial::{EXPOSITIONS, FEDS, Said, args, said};

const SERVICES: &str = "services";

fn server() -> ApiServer {
    let server = ApiServer::new();
    let peer = |name: &str| Peer::new(name, [&*format!("{name}.example")]);
    server.put(FEDS, flat("blue").peer(peer("m1")).peer(peer("m3")).build());
    server.put(SERVICES, service("default", "reviews").port("http", 9080).port("admin", 9090).build());
    server
}

async fn run(server: &ApiServer, line: &str) -> Said {
    let args: ExposeArgs = args(line);
    said(async |console: &mut Console<'_>| expose(&args, Some(&server.client()), console).await).await
}

fn spec(server: &ApiServer, name: &str) -> Option<Value> {
    Some(server.get(EXPOSITIONS, "default", name)?["spec"].clone())
}

#[tokio::test]
async fn a_port_is_exposed_to_all_peers_of_a_relationship() {
    let server = server();
    let exposed = run(&server, "default/reviews:9080 --to blue").await;
    assert_eq!(exposed.fine(), "created: ServiceExposition default/reviews\n");
    let expected =
        json!({"name": "reviews", "port": 9080, "mesh_fed_config_selector": {"fed-config": "blue"}});
    assert_eq!(spec(&server, "reviews"), Some(expected));
}

#[tokio::test]
async fn it_is_exposed_as_the_user_wants() {
    let server = server();
    let line = "default/reviews:9090 --to blue --alias critics --subset v2 --peers m1,m3 --no-directory";
    assert_eq!(run(&server, line).await.fine(), "created: ServiceExposition default/critics\n");
    let expected = json!({"name": "reviews", "port": 9090, "mesh_fed_config_selector": {"fed-config": "blue"},
        "alias": "critics", "subset": "v2", "peers": ["m1", "m3"], "directory": false});
    assert_eq!(spec(&server, "critics"), Some(expected));
}

#[tokio::test]
async fn what_there_is_not_is_refused_with_what_there_is() {
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
        assert_eq!(run(&server, line).await.refusal(), format!("{expected}\n"));
    }
    assert_eq!(spec(&server, "reviews"), None);
}

#[tokio::test]
async fn who_may_not_read_services_can_expose_all_the_same() {
    let server = server();
    server.inject(Fault::code(403).plural(SERVICES));
    run(&server, "default/unseen:1 --to blue").await.fine();
    assert!(spec(&server, "unseen").is_some());
}

#[tokio::test]
async fn a_second_exposition_of_other_words_needs_another_name() {
    let server = server();
    run(&server, "default/reviews:9080 --to blue").await.fine();
    let refusal = run(&server, "default/reviews:9090 --to blue").await.refusal();
    assert!(refusal.contains("exists already with another spec: spec.port: "), "{refusal}");
    run(&server, "default/reviews:9090 --to blue --name reviews-admin").await.fine();
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
        let error = text.parse::<ServicePort>().expect_err(text);
        assert!(error.starts_with(expected), "{error}");
    }
}
