//! Clients that resemble a peer: certificates of the relationship's own CA whose names are similar to a peer's, and old
//! TLS versions.

use emcee_discovery::transport::tls::{AcceptError, PeerCertificateError, accept, discovery_server_name};
use emcee_testkit::certs::{Ca, TlsPair};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::secrets;
use super::tls::{certificate_error, present_certificate, tcp_pair};

/// Creates a certificate of blue's CA with these names, for TLS servers and clients.
fn certificate_with_names(names: Vec<SanType>) -> TlsPair {
    let ca = Ca::shared("blue");
    let issuer = Issuer::from_ca_cert_pem(ca.pem(), KeyPair::from_pem(&ca.key_pem()).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    TlsPair { certificate, key: key.serialize_pem(), ca: ca.pem().to_owned() }
}

fn ascii(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn dns_name(text: &str) -> SanType {
    SanType::DnsName(ascii(text))
}

/// The name of m2 is `m2.blue.example`.
#[tokio::test]
async fn names_similar_to_a_peers_are_refused() {
    for names in [
        vec![dns_name("m2.blue.example.")],
        vec![dns_name(".m2.blue.example")],
        vec![dns_name("a.m2.blue.example")],
        vec![dns_name("blue.example")],
        vec![dns_name("*.blue.example")],
        vec![dns_name("m*.blue.example")],
        vec![dns_name("*")],
        vec![dns_name("m2.blue.example\0")],
        vec![dns_name("m2.blue.example\0.evil.example")],
        vec![dns_name(" m2.blue.example")],
        vec![dns_name("m2.blue.example:443")],
        vec![dns_name("")],
        vec![SanType::URI(ascii("m2.blue.example"))],
        vec![SanType::URI(ascii("https://m2.blue.example"))],
        vec![SanType::URI(ascii("spiffe://m2.blue.example/ns/a/sa/b"))],
        vec![SanType::Rfc822Name(ascii("m2.blue.example"))],
        vec![SanType::Rfc822Name(ascii("admin@m2.blue.example"))],
        vec![SanType::IpAddress([127, 0, 0, 1].into())],
        // Several wrong names do not add up to a right one.
        vec![
            dns_name("*.blue.example"),
            SanType::URI(ascii("m2.blue.example")),
            dns_name("m2.blue.example."),
        ],
    ] {
        let refused =
            certificate_error(present_certificate(Some(&certificate_with_names(names.clone()))).await.1);
        let by_name =
            matches!(refused, PeerCertificateError::NoName | PeerCertificateError::WrongNames { .. });
        assert!(by_name, "{names:?}: {refused:?}");
    }
}

/// The certificates above are refused because of their names, not because of how this test creates them.
#[tokio::test]
async fn the_same_certificate_with_the_peers_name_is_accepted() {
    for name in ["m2.blue.example", "M2.Blue.Example"] {
        let (near, far) = tcp_pair().await;
        let pair = certificate_with_names(vec![dns_name(name), dns_name("also.example")]);
        let m2 = secrets::with_peers("blue", secrets::tls_identity(&pair), &["m1"]);
        let m1 = secrets::relationships_of_m1();
        let (client, server) =
            tokio::join!(emcee_discovery::transport::tls::connect(near, &m2, "m1"), accept(far, &m1));
        assert!(client.is_ok() && server.is_ok(), "{name}");
    }
}

/// Builds a ClientHello of TLS 1.1 for blue. With `versions`, the old version is in the extension of TLS 1.3.
fn old_client_hello(versions: Option<&[u8]>) -> Vec<u8> {
    let name = discovery_server_name("blue");
    let list = [&[0][..], &with_u16_length(name.as_bytes())].concat();
    let mut extensions = extension(0, &with_u16_length(&list));
    extensions.extend(extension(10, &with_u16_length(&[0, 0x17])));
    extensions.extend(extension(11, &[1, 0]));
    extensions.extend(extension(13, &with_u16_length(&[4, 3, 2, 3])));
    if let Some(versions) = versions {
        let list = [&[u8::try_from(versions.len()).unwrap()][..], versions].concat();
        extensions.extend(extension(43, &list));
    }
    let version = if versions.is_some() { [3, 3] } else { [3, 2] };
    // Two cipher suites of TLS 1.0 for ECDSA certificates, and no compression.
    let suites =
        [&version[..], &[7; 32], &[0], &with_u16_length(&[0xc0, 0x09, 0xc0, 0x0a]), &[1, 0]].concat();
    let body = [suites, with_u16_length(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[0x16, 3, 1][..], &with_u16_length(&handshake)].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_u16_length(content)].concat()
}

fn with_u16_length(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[tokio::test]
async fn versions_before_tls_1_2_are_refused() {
    for versions in [None, Some(&[3, 2][..]), Some(&[3, 1, 3, 2]), Some(&[3, 0])] {
        let (mut near, far) = tcp_pair().await;
        near.write_all(&old_client_hello(versions)).await.unwrap();
        near.shutdown().await.unwrap();
        let m1 = secrets::relationships_of_m1();
        let mut answer = Vec::new();
        let (result, read) = tokio::join!(accept(far, &m1), near.read_to_end(&mut answer));
        read.unwrap();
        let error = result.map(|_| ()).unwrap_err();
        let is_handshake =
            matches!(&error, AcceptError::Handshake { relationship, .. } if &**relationship == "blue");
        assert!(is_handshake, "{versions:?}: {error}");
        // The server sends a fatal alert, protocol_version, and no certificate.
        assert_eq!(answer.get(5..), Some(&[2, 70][..]), "{versions:?}: {answer:?}");
    }
}
