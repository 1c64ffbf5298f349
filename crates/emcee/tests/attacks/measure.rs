//! Measures the effect of an attack on other clients.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use emcee_core::inputs::KeyMaterial;
use emcee_discovery::transport::grpc::{BidiStream, ClientConnection};
use emcee_discovery::transport::tls::{SubjectAltName, TlsIdentity, TlsRelationship, connect};
use emcee_discovery::wire::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE};
use tokio::time::timeout;

use crate::attackers::peak_memory_mib;
use crate::stage::{Stage, Target, role_command};

/// Time limit for every operation. A test that waits this long has failed.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Source address of the probes. The attackers have 127.0.0.1.
const KUBELET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Results of one measurement.
#[derive(Debug, Default)]
pub(crate) struct Measurement {
    time: Duration,
    pub(crate) attacks: u64,
    pub(crate) probes: usize,
    /// Probes without an answer within [`TIMEOUT`].
    pub(crate) unanswered: usize,
    pub(crate) slowest: Duration,
    /// Times from a change in yellow to its arrival.
    pub(crate) delays: Vec<Duration>,
    pub(crate) memory_mib: u64,
}

impl Measurement {
    pub(crate) fn p99(&self) -> Duration {
        self.percentile(99)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        delays.get(delays.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }

    /// Returns the number of attacks per second.
    pub(crate) fn rate(&self) -> u128 {
        u128::from(self.attacks) * 1000 / self.time.as_millis().max(1)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} attacks/s; {} probes, slowest {:.1?}, {} unanswered; {} changes, p50 {:.1?}, p99 {:.1?}; {} MiB",
            self.rate(),
            self.probes,
            self.slowest,
            self.unanswered,
            self.delays.len(),
            self.percentile(50),
            self.p99(),
            self.memory_mib
        )
    }
}

/// Measures for some time under this attack, or without an attack.
pub(crate) fn measure(stage: &Stage, time: Duration, attack: Option<&str>) -> Measurement {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut peer = match stage.target {
        Target::Emcee => Some(runtime.block_on(async { YellowPeer::connect(stage).await })),
        Target::Webhook => None,
    };
    let attacker = attack.map(|attack| Attacker::start(stage, attack));
    let over = Arc::new(AtomicBool::new(false));
    let probes = std::thread::spawn({
        let (over, address) = (Arc::clone(&over), stage.probes);
        move || probe_until(&over, address)
    });
    let begun = Instant::now();
    let mut delays = Vec::new();
    while begun.elapsed() < time {
        match &mut peer {
            Some(peer) => delays.push(runtime.block_on(peer.measure_delay(stage))),
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    over.store(true, Ordering::Relaxed);
    let found = probes.join().unwrap();
    let attacks = attacker.as_ref().map_or(0, |attacker| attacker.count.load(Ordering::Relaxed));
    Measurement { time: begun.elapsed(), attacks, delays, memory_mib: peak_memory_mib(stage.pid()), ..found }
}

/// Sends probes like a kubelet, but more often.
fn probe_until(over: &AtomicBool, address: SocketAddr) -> Measurement {
    let mut found = Measurement::default();
    while !over.load(Ordering::Relaxed) || found.probes == 0 {
        let begun = Instant::now();
        found.probes += 1;
        if !is_live(address) {
            found.unanswered += 1;
        }
        found.slowest = found.slowest.max(begun.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    found
}

fn is_live(address: SocketAddr) -> bool {
    let Some(mut stream) = connect_as_kubelet(address) else { return false };
    let _deadline = stream.set_read_timeout(Some(TIMEOUT));
    let mut answer = [0; 12];
    let sent = stream.write_all(b"GET /live HTTP/1.1\r\nHost: pod\r\n\r\n");
    sent.and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer == *b"HTTP/1.1 200"
}

/// Connects from another address than the attackers, as the kubelet does. Connections of one address evict each other.
fn connect_as_kubelet(address: SocketAddr) -> Option<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().ok()?;
        socket.bind((KUBELET, 0).into()).ok()?;
        tokio::time::timeout(TIMEOUT, socket.connect(address)).await.ok()?.ok()?.into_std().ok()
    })?;
    stream.set_nonblocking(false).ok()?;
    Some(stream)
}

/// A process that attacks until it is dropped.
struct Attacker {
    process: Child,
    count: Arc<AtomicU64>,
}

impl Attacker {
    /// Starts the process, and waits until the attack has begun.
    fn start(stage: &Stage, attack: &str) -> Self {
        let target = if attack == "probes" { stage.probes } else { stage.service };
        let mut command = role_command(1, attack);
        command.env("EMCEE_TARGET", target.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = process.stdout.take().unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let number =
            |line: &str| line.split_once("attacks ").and_then(|(_, count)| count.parse::<u64>().ok());
        let begun =
            lines.find_map(|line| number(&line).filter(|count| *count > 0)).expect("a running attack");
        std::thread::spawn({
            let count = Arc::clone(&count);
            move || {
                for now in lines.filter_map(|line| number(&line)) {
                    count.store(now - begun, Ordering::Relaxed);
                }
            }
        });
        Self { process, count }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A client of m1 that follows yellow of m4. Unlike Emcee's client, it does not limit the rate of changes.
struct YellowPeer {
    call: BidiStream<DeltaDiscoveryResponse>,
}

static NEXT_NUMBER: Mutex<usize> = Mutex::new(1);

impl YellowPeer {
    async fn connect(stage: &Stage) -> Self {
        let pair = &stage.yellow;
        let material = KeyMaterial {
            certificate: pair.certificate.as_bytes().into(),
            private_key: pair.key.as_bytes().into(),
            ca: pair.ca.as_bytes().into(),
            crl: None,
        };
        let m4 = ("m4", [SubjectAltName::from("m4.yellow.example")]);
        let yellow = Arc::new(TlsRelationship::new("yellow", TlsIdentity::parse(&material).unwrap(), [m4]));
        let first = DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.into(),
            resource_names_subscribe: vec!["*".into()],
            ..Default::default()
        };
        let begun = Instant::now();
        loop {
            // The server may not listen yet, or may not have read its folder yet.
            if let Some(call) = open_call(stage, &yellow, &first).await {
                let mut peer = Self { call };
                peer.measure_delay(stage).await;
                return peer;
            }
            assert!(begun.elapsed() < TIMEOUT, "m4 accepts its peer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes a service, and returns the time until the change arrives.
    async fn measure_delay(&mut self, stage: &Stage) -> Duration {
        let number = {
            let mut number = NEXT_NUMBER.lock().unwrap();
            *number += 1;
            *number
        };
        let begun = Instant::now();
        let identity = stage.change_identity(number);
        loop {
            let response = timeout(TIMEOUT, self.call.responses.next()).await.expect("the change in time");
            let response = response.unwrap().expect("an open stream");
            let has =
                |resource: &[u8]| resource.windows(identity.len()).any(|part| part == identity.as_bytes());
            let arrived = response.resources.iter().any(|resource| has(resource));
            let answer = DeltaDiscoveryRequest {
                type_url: ENDPOINT_SLICE.into(),
                response_nonce: response.nonce,
                ..Default::default()
            };
            self.call.requests.reserve().await.expect("an open stream").send(&answer);
            if arrived {
                return begun.elapsed();
            }
        }
    }
}

async fn open_call(
    stage: &Stage,
    yellow: &Arc<TlsRelationship>,
    first: &DeltaDiscoveryRequest,
) -> Option<BidiStream<DeltaDiscoveryResponse>> {
    let stream = tokio::net::TcpStream::connect(stage.service).await.ok()?;
    // As Emcee's client does.
    stream.set_nodelay(true).ok()?;
    let (stream, _) = connect(stream, yellow, "m4").await.ok()?;
    let connection = ClientConnection::handshake(stream, TIMEOUT).await.ok()?;
    connection.open_stream("m4", wire::DELTA_METHOD_PATH, first, wire::MAX_RESPONSE_BYTES).await.ok()
}
