use std::io::{Read as _, Write as _};
use std::net::TcpListener as StdListener;

use emcee_core::inputs::KeyMaterial;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::server::{ServerLimits, SharedCache, XdsServer};
use emcee_testkit::prelude::*;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::*;

fn issue_certificate(leaf: &Leaf) -> TlsPair {
    Ca::shared("remote-blue").issue(leaf)
}

fn material(pair: &TlsPair) -> TlsIdentity {
    let bytes = |text: &str| text.as_bytes().into();
    let (certificate, private_key, ca) = (bytes(&pair.certificate), bytes(&pair.key), bytes(&pair.ca));
    TlsIdentity::parse(&KeyMaterial { certificate, private_key, ca, crl: None }).expect("it is good")
}

fn own_identity() -> TlsIdentity {
    material(&issue_certificate(&Leaf::dns("m1.example")))
}

fn offer(name: &str) -> Announcement {
    Announcement {
        key: ObjectKey::new("default", name),
        mode: Mode::Boundary,
        server_name: names::server_name(name, "default", "blue"),
        protocol: Protocol::Http,
        port: 9080,
        endpoints: vec!["203.0.113.7:15443".parse().expect("an endpoint")],
        identities: Vec::new(),
        trust_domain: "m2.example".into(),
        root_hash: None,
    }
}

/// Emcee of m2: relationship blue with m1, to which reviews and ratings are announced, and m3, to which nothing is.
struct RemoteMesh {
    address: Endpoint,
    _task: AbortOnDropHandle<()>,
}

impl RemoteMesh {
    async fn start() -> Self {
        Self::start_with_certificate(&issue_certificate(&Leaf::dns("m2.example").and_dns("m2.blue.example")))
            .await
    }

    async fn start_with_certificate(pair: &TlsPair) -> Self {
        let name = |name: &str| [SubjectAltName::from(name)];
        let peers = [("m1", name("m1.example")), ("m3", name("m3.example"))];
        let relationship = Arc::new(TlsRelationship::new("blue", material(pair), peers));
        let all = [(Arc::from("blue"), relationship)].into_iter().collect();
        let announcer = Arc::new(SharedCache::new());
        let m1 = PeerVisibility::Peers([Arc::from("m1")].into());
        for service in ["reviews", "ratings"] {
            let result = announcer.try_update(|cache| cache.announce("blue", &offer(service), &m1));
            result.expect("it can be announced");
        }
        announcer.mark_synced();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let task: JoinHandle<()> = tokio::spawn(async move {
            // Keep the sender as long as the server runs.
            let (_all, current) = watch::channel(Arc::new(all));
            let server = XdsServer::new(announcer, current, ServerLimits::default(), Arc::default());
            server.serve(listener, std::future::pending()).await;
        });
        Self { address: address.parse().expect("an endpoint"), _task: AbortOnDropHandle::new(task) }
    }
}

/// Queries a relationship with the given identity.
async fn query(
    address: &Endpoint,
    relationship: &str,
    who: &TlsIdentity,
    names: &[&str],
) -> Result<RemoteCatalogue, String> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let target = RemoteTarget {
        address,
        relationship,
        secret: "",
        names: &names,
        quiet_period: Duration::from_secs(1),
    };
    query_remote(&target, who).await.map_err(|trouble| trouble.to_string())
}

#[tokio::test]
async fn announcements_to_this_mesh_are_printed() {
    let m2 = RemoteMesh::start().await;
    let catalogue =
        query(&m2.address, "blue", &own_identity(), &["m2.blue.example"]).await.expect("it answers");
    let services: Vec<_> = catalogue.offered.iter().map(|service| &*service.name).collect();
    assert_eq!(services, ["ratings", "reviews"]);
    let table = render_remote(&catalogue);
    assert!(
        table.contains("default/reviews  http      9080  203.0.113.7:15443  BOUNDARY  reviews.default.blue.emcee.internal"),
        "{table}"
    );
}

#[tokio::test]
async fn without_peer_names_the_name_is_read_from_the_certificate() {
    let m2 = RemoteMesh::start().await;
    let catalogue = query(&m2.address, "blue", &own_identity(), &[]).await.expect("it answers");
    assert_eq!((catalogue.names, catalogue.offered.len()), (vec!["m2.example".to_owned()], 2));
}

#[tokio::test]
async fn a_mesh_without_announcements_gets_an_empty_catalogue() {
    let m2 = RemoteMesh::start().await;
    let m3 = material(&issue_certificate(&Leaf::dns("m3.example")));
    let catalogue = query(&m2.address, "blue", &m3, &["m2.example"]).await.expect("it answers");
    assert_eq!(catalogue.offered, []);
}

#[tokio::test]
async fn a_failed_connection_reports_cause_and_fix() {
    let m2 = RemoteMesh::start().await;
    let address = &m2.address;
    let stranger = material(&issue_certificate(&Leaf::dns("m9.example")));
    for (relationship, who, name, expected) in [
        (
            "blue",
            own_identity(),
            "m4.example",
            "has the names m2.example, m2.blue.example, but m4.example is expected",
        ),
        ("green", own_identity(), "m2.example", "it has no open relationship of this name"),
        ("blue", stranger, "m2.example", "our certificate carries no name that it lists for one peer"),
    ] {
        let trouble = query(address, relationship, &who, &[name]).await.expect_err(expected);
        assert!(trouble.starts_with(&format!("{address}: ")) && trouble.contains(expected), "{trouble}");
    }
    let unknown = query(address, "green", &own_identity(), &[]).await.expect_err("unknown");
    assert!(unknown.contains("it has no open relationship of this name"), "{unknown}");
}

#[tokio::test]
async fn an_expired_certificate_suggests_comparing_clocks() {
    let pair = issue_certificate(&Leaf::dns("m2.example").expired());
    let m2 = RemoteMesh::start_with_certificate(&pair).await;
    let trouble =
        query(&m2.address, "blue", &own_identity(), &["m2.example"]).await.expect_err("it is expired");
    assert!(
        trouble.contains("its certificate expired at ") && trouble.contains("compare the clocks"),
        "{trouble}"
    );
}

#[tokio::test]
async fn a_port_without_emcee_has_its_own_error() {
    let closed = StdListener::bind("127.0.0.1:0").expect("a port");
    let address: Endpoint =
        closed.local_addr().expect("it is bound").to_string().parse().expect("an endpoint");
    drop(closed);
    let trouble = query(&address, "blue", &own_identity(), &[]).await.expect_err("no server listens");
    assert!(trouble.contains("refuses the connection"), "{trouble}");

    let plain = StdListener::bind("127.0.0.1:0").expect("a port");
    let address: Endpoint =
        plain.local_addr().expect("it is bound").to_string().parse().expect("an endpoint");
    let served = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().expect("somebody comes");
        // The first five bytes are the header of a TLS record.
        stream.read_exact(&mut [0; 5]).expect("it says something");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it listens");
    });
    let trouble = query(&address, "blue", &own_identity(), &[]).await.expect_err("it is no Emcee");
    assert!(trouble.contains("does not speak TLS"), "{trouble}");
    served.join().expect("it was asked");
}
