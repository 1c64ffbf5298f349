//! Which peers authenticate each other, and which errors both sides get.

use std::io;
use std::sync::Arc;

use emcee_discovery::PeerRef;
use emcee_discovery::transport::tls::{
    AcceptError, AuthenticatedPeer, PeerCertificateError, SubjectAltName, TlsError, TlsIdentity,
    TlsIdentityError, TlsRelationship, TlsRelationships, TlsRole, accept, connect, discovery_server_name,
};
use emcee_testkit::certs::{Ca, Leaf, TlsPair, days};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::{raw, secrets};

/// Returns both ends of a TCP connection.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Runs a handshake of Emcee's own client with `peer`. Returns the results of both sides.
async fn handshake(
    server: &TlsRelationships,
    client: &Arc<TlsRelationship>,
    peer: &str,
) -> (Result<PeerRef, TlsError>, Result<PeerRef, AcceptError>) {
    let (near, far) = tcp_pair().await;
    let client = async {
        let (mut stream, authenticated) = connect(near, client, peer).await?;
        let read = read_one(&mut stream).await;
        read.map_err(|error| TlsError::from_open_stream(&error, "blue").expect("a TLS error"))?;
        Ok(authenticated.peer().clone())
    };
    tokio::join!(client, accept_client(server, far))
}

/// Accepts a client, and writes one byte to it.
async fn accept_client(server: &TlsRelationships, stream: TcpStream) -> Result<PeerRef, AcceptError> {
    let (mut stream, authenticated) = accept(stream, server).await?;
    // A client that refuses the server has closed the connection.
    let _gone = stream.write_all(b"!").await;
    let _gone = stream.shutdown().await;
    Ok(authenticated.peer().clone())
}

async fn read_one(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<u8> {
    stream.read_u8().await
}

/// Presents this certificate for blue. Returns the client's error and the server's error.
pub(crate) async fn present_certificate(pair: Option<&TlsPair>) -> (String, AcceptError) {
    handshake_with(&secrets::relationships_of_m1(), &discovery_server_name("blue"), raw::client_config(pair))
        .await
}

async fn handshake_with(
    server: &TlsRelationships,
    name: &str,
    config: ClientConfig,
) -> (String, AcceptError) {
    let (near, far) = tcp_pair().await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await?;
        read_one(&mut stream).await
    };
    let (client_error, server_error) = tokio::join!(client, accept_client(server, far));
    (client_error.expect_err("a refusal").to_string(), server_error.expect_err("a refusal"))
}

pub(crate) fn certificate_error(error: AcceptError) -> PeerCertificateError {
    match error {
        AcceptError::Certificate { relationship, refusal } if &*relationship == "blue" => refusal,
        other => panic!("not about the certificate: {other}"),
    }
}

#[tokio::test]
async fn both_sides_identify_each_other_by_dns_name() {
    let m2 = secrets::relationship("blue", "m2", &["m1"]);
    let (client, server) = handshake(&secrets::relationships_of_m1(), &m2, "m1").await;
    assert_eq!(client, Ok(PeerRef::new("blue", "m1")));
    assert_eq!(server, Ok(PeerRef::new("blue", "m2")));
}

#[tokio::test]
async fn both_sides_identify_each_other_by_spiffe_id() {
    let (id1, id2) = ("spiffe://m1/ns/emcee/sa/emcee", "spiffe://m2/ns/emcee/sa/emcee");
    let side = |own: &str, peer: &str, peer_id: &str| {
        let material = secrets::tls_identity(&Ca::shared("blue").issue(&Leaf::uri(own)));
        Arc::new(TlsRelationship::new("blue", material, [(peer, [SubjectAltName::from(peer_id)])]))
    };
    let m1 = secrets::relationships([side(id1, "m2", id2)]);
    let (client, server) = handshake(&m1, &side(id2, "m1", id1), "m1").await;
    assert_eq!(client, Ok(PeerRef::new("blue", "m1")));
    assert_eq!(server, Ok(PeerRef::new("blue", "m2")));
}

#[tokio::test]
async fn the_server_name_is_not_case_sensitive() {
    let (near, far) = tcp_pair().await;
    let config = raw::client_config(Some(&secrets::valid_pair("m2", "blue")));
    let name = ServerName::try_from("Discovery.BLUE.emcee.internal").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let m1 = secrets::relationships_of_m1();
    let (client, server) = tokio::join!(connector.connect(name, near), accept_client(&m1, far));
    assert!(client.is_ok());
    assert_eq!(server, Ok(PeerRef::new("blue", "m2")));
}

#[tokio::test]
async fn a_certificate_of_another_relationship_is_refused() {
    let (client_error, server_error) = present_certificate(Some(&secrets::valid_pair("m4", "yellow"))).await;
    assert_eq!(certificate_error(server_error), PeerCertificateError::UnknownCa);
    assert!(client_error.contains("UnknownCA"), "{client_error}");
}

#[tokio::test]
async fn the_name_of_a_peer_from_another_ca_is_refused() {
    let stranger = Ca::new("blue").issue(&Leaf::dns(&secrets::certificate_name("m2", "blue")));
    assert_eq!(
        certificate_error(present_certificate(Some(&stranger)).await.1),
        PeerCertificateError::UnknownCa
    );
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new([secrets::certificate_name("m2", "blue")]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let pair = TlsPair { certificate, key: key.serialize_pem(), ca: String::new() };
    assert_eq!(certificate_error(present_certificate(Some(&pair)).await.1), PeerCertificateError::UnknownCa);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_the_time_on_both_sides() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m2.blue.example").expired());
    let (client_error, server_error) = present_certificate(Some(&pair)).await;
    let words = server_error.to_string();
    assert!(words.contains("expired at 2025-06-01T00:00:00Z, and it is 20"), "{words}");
    assert!(words.contains("compare the clocks"), "{words}");
    assert!(client_error.contains("CertificateExpired"), "{client_error}");
}

#[tokio::test]
async fn a_future_certificate_is_refused_with_the_time_on_both_sides() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m2.blue.example").not_yet_valid());
    let (client_error, server_error) = present_certificate(Some(&pair)).await;
    let words = server_error.to_string();
    assert!(words.contains("is not valid before 2100-01-01T00:00:00Z"), "{words}");
    assert!(client_error.contains("CertificateExpired"), "{client_error}");
}

#[tokio::test]
async fn a_common_name_identifies_no_peer() {
    let pair = Ca::shared("blue").issue(&Leaf::common_name_only("m2.blue.example"));
    assert_eq!(certificate_error(present_certificate(Some(&pair)).await.1), PeerCertificateError::NoName);
}

#[tokio::test]
async fn a_certificate_of_the_relationship_that_names_no_peer_is_refused_with_both_names() {
    let words = present_certificate(Some(&secrets::valid_pair("m9", "blue"))).await.1.to_string();
    assert!(words.contains("has the names m9.blue.example, but m2.blue.example, m3.blue.example"), "{words}");
}

#[tokio::test]
async fn a_wildcard_identifies_no_peer() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("*.blue.example"));
    assert!(matches!(
        certificate_error(present_certificate(Some(&pair)).await.1),
        PeerCertificateError::WrongNames { .. }
    ));
}

#[tokio::test]
async fn a_certificate_with_the_names_of_two_peers_is_refused() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m2.blue.example").and_dns("m3.blue.example"));
    assert!(matches!(
        certificate_error(present_certificate(Some(&pair)).await.1),
        PeerCertificateError::Ambiguous(_)
    ));
}

#[tokio::test]
async fn a_certificate_for_servers_only_is_refused_for_clients() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m2.blue.example").server_only());
    assert_eq!(
        certificate_error(present_certificate(Some(&pair)).await.1),
        PeerCertificateError::WrongKeyUsage(TlsRole::Client)
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (client_error, server_error) = present_certificate(None).await;
    assert!(client_error.contains("CertificateRequired"), "{client_error}");
    assert!(matches!(server_error, AcceptError::Handshake { .. }), "{server_error}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_another_of_the_same_name_is_not() {
    let (revoked, renewed) = (secrets::valid_pair("m2", "blue"), secrets::valid_pair("m2", "blue"));
    let crl = secrets::crl(Ca::shared("blue"), [&revoked]);
    let material = secrets::key_material(&secrets::valid_pair("m1", "blue"));
    let material = TlsIdentity::parse(&secrets::with_crl(&material, crl.as_bytes())).unwrap();
    let m1 = secrets::relationships([secrets::with_peers("blue", material, &["m2"])]);
    let m2 = |pair| secrets::with_peers("blue", secrets::tls_identity(pair), &["m1"]);

    let (client, server) = handshake(&m1, &m2(&revoked), "m1").await;
    assert_eq!(certificate_error(server.unwrap_err()), PeerCertificateError::Revoked);
    assert_eq!(client, Err(TlsError::RejectedByPeer("our certificate is revoked by its ca.crl")));
    assert_eq!(handshake(&m1, &m2(&renewed), "m1").await.1, Ok(PeerRef::new("blue", "m2")));
}

#[tokio::test]
async fn an_expired_ca_is_not_trusted() {
    let ca = Ca::valid_between("old", days("2020-01-01", 0), days("2026-01-01", 0));
    let issue =
        |mesh: &str| secrets::tls_identity(&ca.issue(&Leaf::dns(&secrets::certificate_name(mesh, "blue"))));
    let m1 = secrets::relationships([secrets::with_peers("blue", issue("m1"), &["m2"])]);
    let (client, _) = handshake(&m1, &secrets::with_peers("blue", issue("m2"), &["m1"]), "m1").await;
    let words = client.unwrap_err().to_string();
    assert!(words.contains("no CA in ca.crt is valid"), "{words}");
}

#[tokio::test]
async fn a_missing_and_an_unknown_server_name_are_refused_alike() {
    let pair = secrets::valid_pair("m2", "blue");
    let mut client_errors = Vec::new();
    // An IP address is never sent as a server name.
    for name in ["127.0.0.1", "discovery.green.emcee.internal", "blue.emcee.internal", "a.b.c"] {
        let (client, server) =
            handshake_with(&secrets::relationships_of_m1(), name, raw::client_config(Some(&pair))).await;
        assert!(matches!(server, AcceptError::UnknownServerName(_)), "{name}: {server}");
        client_errors.push(client);
    }
    assert!(client_errors[0].contains("AccessDenied"), "{}", client_errors[0]);
    assert!(client_errors.iter().all(|words| *words == client_errors[0]), "{client_errors:?}");
}

#[tokio::test]
async fn a_closed_relationship_is_refused_like_an_unknown_one() {
    let m1 = secrets::relationships([secrets::relationship("yellow", "m1", &["m4"])]);
    let m2 = secrets::relationship("blue", "m2", &["m1"]);
    let (client, _) = handshake(&m1, &m2, "m1").await;
    let words = client.unwrap_err().to_string();
    assert!(words.contains("it has no open relationship of this name"), "{words}");
}

#[tokio::test]
async fn connections_without_tls_are_reported_on_either_side() {
    let (mut near, far) = tcp_pair().await;
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let m1 = secrets::relationships_of_m1();
    let server_error = accept(far, &m1).await.map(|_| ()).unwrap_err();
    assert!(matches!(server_error, AcceptError::NotTls(_)), "{server_error}");

    let (near, mut far) = tcp_pair().await;
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let m2 = secrets::relationship("blue", "m2", &["m1"]);
    assert_eq!(connect(near, &m2, "m1").await.map(|_| ()), Err(TlsError::NotTls));
}

#[tokio::test]
async fn a_gateway_that_does_not_route_the_server_name_is_reported() {
    let (near, far) = tcp_pair().await;
    drop(far);
    let m2 = secrets::relationship("blue", "m2", &["m1"]);
    let error = connect(near, &m2, "m1").await.map(|_| ()).unwrap_err();
    assert_eq!(error, TlsError::Closed("discovery.blue.emcee.internal".into()));
}

#[tokio::test]
async fn clients_without_http2_are_refused() {
    for alpn in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = raw::client_config(Some(&secrets::valid_pair("m2", "blue")));
        config.alpn_protocols = alpn;
        let (_, server_error) =
            handshake_with(&secrets::relationships_of_m1(), &discovery_server_name("blue"), config).await;
        assert!(matches!(server_error, AcceptError::Handshake { .. }), "{server_error}");
    }
}

#[tokio::test]
async fn one_peer_cannot_answer_for_another() {
    let m3 = secrets::relationships([secrets::relationship("blue", "m3", &["m1", "m2"])]);
    let m1 = secrets::relationship("blue", "m1", &["m2", "m3"]);
    assert_eq!(handshake(&m3, &m1, "m3").await.0, Ok(PeerRef::new("blue", "m3")));
    let words = handshake(&m3, &m1, "m2").await.0.unwrap_err().to_string();
    assert!(words.contains("has the names m3.blue.example, but m2.blue.example is expected"), "{words}");
}

#[tokio::test]
async fn a_client_refuses_servers_of_another_ca_and_expired_ones() {
    let m2 = secrets::relationship("blue", "m2", &["m1"]);
    let server = |pair: &TlsPair| {
        secrets::relationships([secrets::with_peers("blue", secrets::tls_identity(pair), &["m2"])])
    };
    let stranger = Ca::new("blue").issue(&Leaf::dns("m1.blue.example"));
    let (client, _) = handshake(&server(&stranger), &m2, "m1").await;
    assert_eq!(client, Err(TlsError::Certificate(PeerCertificateError::UnknownCa)));

    let expired = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example").expired());
    let (client, _) = handshake(&server(&expired), &m2, "m1").await;
    assert!(matches!(client, Err(TlsError::Certificate(PeerCertificateError::Expired { .. }))), "{client:?}");
}

#[tokio::test]
async fn a_client_of_another_ca_learns_that_its_certificate_is_refused() {
    let own = Ca::new("blue");
    let pair = own.issue(&Leaf::dns("m2.blue.example")).with_roots([&own, Ca::shared("blue")]);
    let m2 = secrets::with_peers("blue", secrets::tls_identity(&pair), &["m1"]);
    let words = handshake(&secrets::relationships_of_m1(), &m2, "m1").await.0.unwrap_err().to_string();
    assert!(words.contains("it rejects us: our certificate was not issued by the CA"), "{words}");
}

#[tokio::test]
async fn no_session_is_ever_resumed() {
    let m1 = secrets::relationships_of_m1();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config =
            Arc::new(raw::client_config_with_versions(Some(&secrets::valid_pair("m2", "blue")), &[version]));
        for attempt in 0..3 {
            let (near, far) = tcp_pair().await;
            let name = ServerName::try_from(discovery_server_name("blue")).unwrap();
            let connector = TlsConnector::from(Arc::clone(&config));
            let client = async {
                let mut stream = connector.connect(name, near).await?;
                read_one(&mut stream).await?;
                io::Result::Ok(stream)
            };
            let (client, server) = tokio::join!(client, accept_client(&m1, far));
            assert_eq!(server, Ok(PeerRef::new("blue", "m2")));
            let client = client.unwrap();
            let session = client.get_ref().1;
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full), "{version:?}, {attempt}");
            assert_eq!(session.tls13_tickets_received(), 0, "{version:?}, {attempt}");
        }
    }
}

#[test]
fn errors_about_a_secret_do_not_contain_its_key() {
    let pair = secrets::valid_pair("m1", "blue");
    let parse = |pair: &TlsPair| TlsIdentity::parse(&secrets::key_material(pair));
    assert_eq!(parse(&pair.clone().with_wrong_key()).unwrap_err(), TlsIdentityError::KeyMismatch);
    let no_name = Ca::shared("blue").issue(&Leaf::common_name_only("m1.blue.example"));
    assert_eq!(parse(&no_name).unwrap_err(), TlsIdentityError::NoName);
    for broken in [pair.clone().with_broken_key(), pair.clone().with_broken_ca()] {
        let words = parse(&broken).unwrap_err().to_string();
        assert!(words.starts_with("data."), "{words}");
        assert!(broken.key.lines().skip(1).take(2).all(|line| !words.contains(line)), "{words}");
    }
    let debug_output = format!("{:?}", parse(&pair).unwrap());
    assert_eq!(debug_output, r#"TlsIdentity { names: [Dns("m1.blue.example")], .. }"#);
}

#[test]
fn a_crl_that_would_revoke_nothing_is_refused() {
    let material = secrets::key_material(&secrets::valid_pair("m1", "blue"));
    let foreign = secrets::crl(Ca::shared("yellow"), []);
    let parsed = TlsIdentity::parse(&secrets::with_crl(&material, foreign.as_bytes()));
    assert_eq!(parsed.unwrap_err(), TlsIdentityError::ForeignCrl);
    let own = secrets::crl(Ca::shared("blue"), []);
    assert!(TlsIdentity::parse(&secrets::with_crl(&material, own.as_bytes())).is_ok());
    assert!(TlsIdentity::parse(&secrets::with_crl(&material, b"no PEM")).is_err());
}

/// Authenticates m2 at this server.
pub(crate) async fn authenticate_m2(
    server: &TlsRelationships,
    m2: &Arc<TlsRelationship>,
) -> AuthenticatedPeer {
    let (near, far) = tcp_pair().await;
    let (client, server) = tokio::join!(connect(near, m2, "m1"), accept(far, server));
    assert!(client.is_ok());
    server.unwrap().1
}
