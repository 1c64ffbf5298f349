//! Hostile clients, each in a separate process.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use emcee_testkit::certs::Ca;
use emcee_testkit::prelude::*;
use serde_json::{Map, Value, json};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

const WEBHOOK: &str = "emcee-webhook.emcee.svc";
const DISCOVERY: &str = "discovery.blue.emcee.internal";
/// Sockets that one thread holds open.
const MAX_OPEN_SOCKETS: usize = 50;

/// Attacks until the process is killed, and prints the number of attacks every half second.
pub(crate) fn run_attack(role: &str) {
    let address: SocketAddr = env::var("EMCEE_TARGET").unwrap().parse().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let threads = match role {
        // When the listener's backlog is full, a thread waits a second for its connection.
        "probes" | "hellos" => 32,
        "chains" => 16,
        _ => 4,
    };
    for _ in 0..threads {
        let (count, role) = (Arc::clone(&count), role.to_owned());
        std::thread::spawn(move || match role.as_str() {
            "probes" => send_repeatedly(address, b"GET /live HTTP/1.1\r\nHost: x", &count),
            "hellos" => send_repeatedly(address, &client_hello(), &count),
            "chains" => send_long_chains(address, &count),
            "reviews" => send_large_reviews(address, &count),
            other => unreachable!("unknown attack {other}"),
        });
    }
    loop {
        std::thread::sleep(Duration::from_millis(500));
        println!("attacks {}", count.load(Ordering::Relaxed));
    }
}

/// Sends the same bytes on many connections, and holds the newest ones open.
fn send_repeatedly(address: SocketAddr, bytes: &[u8], count: &AtomicU64) {
    let mut held = VecDeque::new();
    let begun = Instant::now();
    loop {
        // At most 8,000 connections a second.
        let done = count.load(Ordering::Relaxed);
        if u128::from(done) > begun.elapsed().as_millis() * 8 {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        if stream.write_all(bytes).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        held.push_back(stream);
        if held.len() > MAX_OPEN_SOCKETS {
            held.pop_front();
        }
    }
}

fn client_hello() -> Vec<u8> {
    let mut client = tls_client(client_config_builder().with_no_client_auth(), DISCOVERY);
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Presents chains of intermediate certificates with the CA's name and different keys.
fn send_long_chains(address: SocketAddr, count: &AtomicU64) {
    let pair = Ca::new("blue").issue(&Leaf::dns("m2.blue.example"));
    let mut chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    chain.extend((0..150).map(|_| CertificateDer::from(Ca::new("blue").der().to_vec())));
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = client_config_builder().with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    loop {
        let name = ServerName::try_from(DISCOVERY).unwrap();
        let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        let _deadline = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if client.complete_io(&mut stream).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
            // Wait until the server refuses the certificate.
            let _alert = client.complete_io(&mut stream);
            let _end = stream.read(&mut [0; 64]);
        }
    }
}

fn send_large_reviews(address: SocketAddr, count: &AtomicU64) {
    let mut object = exposition("shop", "reviews").build();
    let fields: Map<_, _> = (0..42_000).map(|n| (format!("{n:060}"), json!(1))).collect();
    object["spec"] = Value::Object(fields);
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7", "operation": "CREATE", "object": object,
        "kind": {"group": emcee_api::GROUP, "version": emcee_api::VERSION, "kind": "ServiceExposition"}}});
    let body = body.to_string();
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: emcee\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    loop {
        let client = tls_client(client_config_builder().with_no_client_auth(), WEBHOOK);
        let Ok(stream) = TcpStream::connect(address) else { continue };
        let _deadline = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let mut stream = StreamOwned::new(client, stream);
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let _answer = stream.read(&mut [0; 4096]);
    }
}

type ClientConfigBuilder =
    tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>;

fn client_config_builder() -> ClientConfigBuilder {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
}

fn tls_client(config: ClientConfig, name: &'static str) -> ClientConnection {
    ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap()
}

/// Returns the peak memory of a process.
pub(crate) fn peak_memory_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(u64::MAX) / 1024
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
