//! Commands against an API server that does not answer as it should: one line, within the deadline, with the server and
//! the context, and without texts of libraries.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{RunResult, World};

/// Deadline that the commands get.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time for starting the program, and for two requests, on a busy machine.
const MARGIN: Duration = Duration::from_secs(25);

/// What a command prints if it asks a server of this kind.
struct Case {
    name: &'static str,
    /// Scheme and address of the server.
    server: String,
    /// Part of the line.
    words: &'static str,
}

/// Starts a server that gives every connection to `answer`.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Starts a server that answers every request on a connection with the same response.
fn serve_answer(status: &'static str, content_type: &'static str, body: &'static str) -> String {
    let address = serve(move |mut stream| {
        let mut buffer = [0; 16 << 10];
        while let Ok(1..) = stream.read(&mut buffer) {
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                return;
            }
        }
    });
    format!("http://{address}")
}

/// Answer of an API server: a Status.
macro_rules! status_body {
    ($code:literal, $reason:literal, $message:literal) => {
        concat!(
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":""#,
            $message,
            r#"","reason":""#,
            $reason,
            r#"","code":"#,
            $code,
            "}"
        )
    };
}

const PAGE: &str = "<!DOCTYPE html>\n<html><body><h1>Please log in</h1></body></html>\n";
const JSON: &str = "application/json";

fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

fn cases() -> Vec<Case> {
    let case = |name, server, words| Case { name, server, words };
    let answer = |status, body| serve_answer(status, JSON, body);
    // Keeps the connection open, and is silent.
    let silent = serve(|stream| {
        let _open = stream;
        loop {
            thread::park();
        }
    });
    let closing = serve(drop);
    vec![
        case("nothing listens", format!("http://{}", unused_address()), "connection refused"),
        case("never answers", format!("http://{silent}"), "no answer within 2s (--request-timeout)"),
        case("TLS never answers", format!("https://{silent}"), "no answer within 2s (--request-timeout)"),
        case("closes the connection", format!("http://{closing}"), "the connection was "),
        case("no TLS", answer("200 OK", "{}").replace("http:", "https:"), "the server does not speak TLS"),
        case(
            "401",
            answer("401 Unauthorized", status_body!("401", "Unauthorized", "Unauthorized")),
            "does not accept the credentials of the kubeconfig: Unauthorized (401)",
        ),
        case(
            "403",
            answer(
                "403 Forbidden",
                status_body!(
                    "403",
                    "Forbidden",
                    "meshfedconfigs.mm.ibm.istio.io is forbidden: User jane cannot list"
                ),
            ),
            "meshfedconfigs.mm.ibm.istio.io is forbidden: User jane cannot list",
        ),
        case(
            "404",
            serve_answer("404 Not Found", "text/plain", "404 page not found\n"),
            "emcee crds | kubectl apply",
        ),
        case(
            "429",
            answer("429 Too Many Requests", status_body!("429", "TooManyRequests", "too many requests")),
            "the API server is busy: too many requests (429; try again)",
        ),
        case(
            "500",
            answer(
                "500 Internal Server Error",
                status_body!("500", "InternalError", "etcdserver: no leader"),
            ),
            "etcdserver: no leader (500)",
        ),
        case(
            "503",
            answer(
                "503 Service Unavailable",
                status_body!("503", "ServiceUnavailable", "apiserver is shutting down"),
            ),
            "the API server is not available: apiserver is shutting down (503; try again)",
        ),
        case("a page", serve_answer("200 OK", "text/html", PAGE), "is a proxy or a login page in between?"),
        case("a page with 502", serve_answer("502 Bad Gateway", "text/html", PAGE), "502 Bad Gateway"),
        case("no such host", "https://no-such-host.invalid:6443".to_owned(), "cannot be resolved"),
    ]
}

/// Commands, and whether they look at what a 403 or 404 forbids: `bind` continues without permission to read
/// relationships, and the check of `run` and `diff` asks for the version only.
const COMMANDS: [&str; 5] = [
    "status",
    "bind blue/m2/default/reviews",
    "expose default/reviews:9080 --to blue",
    "diff --cluster",
    "run",
];

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         contexts: [{{name: lab, context: {{cluster: c, user: u}}}}, {{name: production, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\n"
    )
}

#[track_caller]
fn assert_one_clear_line(ran: &RunResult, what: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{what}: {}", ran.stderr);
    // Without permission to read relationships, `bind` and `expose` say what they assume.
    let lines: Vec<_> = ran.stderr.lines().filter(|line| !line.starts_with("assumed: ")).collect();
    assert_eq!(lines.len(), 1, "{what}: {}", ran.stderr);
    assert!(lines[0].starts_with("emcee: "), "{what}: {}", ran.stderr);
    for noise in [
        "ServiceError",
        "ApiError",
        "Some(",
        "os error",
        "hyper",
        "rustls",
        "{",
        "docs.rs",
        "deserializ",
        "<html",
    ] {
        assert!(!ran.stderr.contains(noise), "{what}: {noise} in {}", ran.stderr);
    }
}

#[test]
fn a_server_that_does_not_answer_as_it_should_gives_one_line_in_time() {
    for Case { name, server, words } in cases() {
        let world = World::new().with_file("kubeconfig", kubeconfig(&server));
        thread::scope(|scope| {
            for command in COMMANDS {
                let (world, server) = (&world, &server);
                scope.spawn(move || {
                    let what = format!("{command}, {name}");
                    let before = Instant::now();
                    let ran = world.run(&format!("{command} --kubeconfig kubeconfig --request-timeout 2s"));
                    let took = before.elapsed();
                    assert!(took < TIMEOUT + MARGIN, "{what}: {took:?}");
                    assert_one_clear_line(&ran, &what);
                    assert!(
                        ran.stderr.contains(server) && ran.stderr.contains("context lab"),
                        "{what}: {}",
                        ran.stderr
                    );
                    // `diff` and `run` ask for the version first, which needs no kind.
                    let is_other = name == "404" && !command.starts_with("status");
                    assert!(is_other || ran.stderr.contains(words), "{what}: {}", ran.stderr);
                });
            }
        });
    }
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named() {
    let world = World::new()
        .with_file("good", kubeconfig("http://127.0.0.1:1"))
        .with_file("empty", "apiVersion: v1\nkind: Config\n")
        .with_file("broken", "apiVersion: v1\nclusters: [\n")
        .with_file("no-cluster", kubeconfig("http://127.0.0.1:1").replace("cluster: c,", "cluster: other,"));
    for (args, words) in [
        (
            "--kubeconfig good --context lob",
            "the kubeconfig good has no context \"lob\" (did you mean lab? there are: lab, production)",
        ),
        ("--kubeconfig missing", "the kubeconfig missing does not exist"),
        ("--kubeconfig empty", "the kubeconfig empty has no current context"),
        ("--kubeconfig broken", "the kubeconfig broken is not a valid kubeconfig: "),
        (
            "--kubeconfig no-cluster",
            "the context names the cluster \"other\", which is not among its clusters",
        ),
    ] {
        for command in ["status", "run", "diff --cluster"] {
            let ran = world.run(&format!("{command} {args}"));
            assert_one_clear_line(&ran, &format!("{command} {args}"));
            assert!(ran.stderr.contains(words), "{command} {args}: {}", ran.stderr);
        }
    }
    let mut command = world.command("status");
    command.env("HOME", world.path("")).env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no cluster: this is not a pod, and the kubeconfig "), "{text}");
    assert!(text.contains("does not exist (set --kubeconfig or KUBECONFIG)"), "{text}");
}
