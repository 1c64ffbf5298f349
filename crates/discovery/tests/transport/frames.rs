//! Attacks with HTTP/2 frames that no client library sends. Each attack ends its own connection or has no effect.
//! Meanwhile, a peer of another relationship receives every change.

use std::io;
use std::time::Duration;

use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::server::ServerLimits;
use emcee_discovery::wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::hostile::connect_as_m2;
use super::mesh::{TIMEOUT, TestMesh, TestPeer};
use super::streams::eventually;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// HTTP/2 error code for a peer that sends too much.
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the headers of a call of the delta xDS method, encoded with the static table of HPACK.
fn call_headers() -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    // POST, https, path, authority, content type.
    [
        &[0x83, 0x87, 0x04][..],
        &text(wire::DELTA_METHOD_PATH),
        &[0x01],
        &text("m1"),
        &[0x0f, 0x10],
        &text("application/grpc"),
    ]
    .concat()
}

/// Creates the frame with this index.
type FrameGenerator = fn(u32) -> Vec<u8>;

/// Returns the first `count` stream IDs of a client.
fn stream_ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

/// A frame from the server.
#[derive(Debug)]
struct ServerFrame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

impl ServerFrame {
    /// Returns the error code of a GOAWAY or RST_STREAM frame.
    fn error_code(&self) -> u32 {
        let code = self.payload.iter().skip(if self.kind == GOAWAY { 4 } else { 0 });
        code.take(4).fold(0, |code, byte| code << 8 | u32::from(*byte))
    }
}

/// A connection of m2. The test writes its frames, and a task reads those of the server.
struct ManualConnection {
    stream: WriteHalf<TlsStream<TcpStream>>,
    frames: mpsc::UnboundedReceiver<ServerFrame>,
}

impl ManualConnection {
    async fn open_as_m2(mesh: &TestMesh) -> Self {
        let (mut reader, mut stream) = split(connect_as_m2(mesh).await);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(frame) = read_frame(&mut reader).await {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Self { stream, frames }
    }

    /// Writes bytes. Returns whether the server still accepts them.
    async fn write_bytes(&mut self, bytes: &[u8]) -> bool {
        let written =
            timeout(TIMEOUT, self.stream.write_all(bytes)).await.expect("the server reads, or closes");
        written.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Writes frames in pieces until the server closes the connection.
    async fn write_frames(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) {
        let mut piece = Vec::new();
        for frame in frames {
            piece.extend(frame);
            if piece.len() > 8 * 1024 && !self.write_bytes(&std::mem::take(&mut piece)).await {
                return;
            }
        }
        self.write_bytes(&piece).await;
    }

    /// Returns the next frame, or `None` when the server has closed the connection.
    async fn next_frame(&mut self) -> Option<ServerFrame> {
        timeout(TIMEOUT, self.frames.recv())
            .await
            .expect("the server sends a frame, or closes the connection")
    }

    async fn close(mut self) {
        let _closed = timeout(TIMEOUT, self.stream.shutdown())
            .await
            .expect("the server reads, or closes the connection");
    }

    /// Waits until the server closes the connection. Returns the code of its GOAWAY, if it sent one.
    async fn wait_for_close(mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next_frame().await {
            code = code.or((frame.kind == GOAWAY).then(|| frame.error_code()));
        }
        code
    }

    /// Returns whether the server answers a PING after all earlier frames. Otherwise it has closed the connection.
    async fn answers_ping(&mut self) -> bool {
        self.write_bytes(&frame(PING, 0, 0, b"finished")).await;
        while let Some(frame) = self.next_frame().await {
            if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"finished" {
                return true;
            }
        }
        false
    }
}

async fn read_frame(stream: &mut ReadHalf<TlsStream<TcpStream>>) -> io::Result<ServerFrame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok(ServerFrame { kind, flags, payload })
}

/// Starts m1, and m4 that follows it in another relationship.
async fn start_m1_and_m4() -> (TestMesh, TestPeer) {
    let m1 = TestMesh::start_m1_with(ServerLimits {
        ack_timeout: Duration::from_secs(2),
        ..ServerLimits::default()
    })
    .await;
    let mut m4 = m1.followed_by("m4", "yellow");
    m4.wait_connected().await;
    (m1, m4)
}

/// Asserts that a peer of another relationship receives changes, and that the attacker's connections are closed.
async fn assert_no_effect(m1: &TestMesh, m4: &mut TestPeer) {
    m1.announce("yellow", "after", &PeerVisibility::All);
    assert_eq!(m4.next_change().await, ("after".into(), true));
    let peer = PeerRef::new("blue", "m2");
    let gone = || {
        m1.server.connected_peers().get(&peer).is_none_or(|peer| peer.connections == 0 && peer.streams == 0)
    };
    eventually("the attacker's connection and its streams are closed", gone).await;
    assert_eq!(m1.server.connected_peers()[&PeerRef::new("yellow", "m4")].connections, 1);
    // The attacker can connect again, like any peer.
    m1.followed_by("m2", "blue").wait_connected().await;
}

/// Returns whether the server ended the connection because of a flood: with the code for that, or without a GOAWAY.
fn is_flood_error(code: Option<u32>) -> bool {
    code.is_none_or(|code| code == ENHANCE_YOUR_CALM)
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let (m1, mut m4) = start_m1_and_m4().await;
    let mut hand = ManualConnection::open_as_m2(&m1).await;
    let reset = |stream| {
        let open = frame(HEADERS, END_HEADERS, stream, &call_headers());
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    hand.write_frames(stream_ids(100_000).map(reset)).await;
    let code = hand.wait_for_close().await;
    assert!(is_flood_error(code), "{code:?}");
    assert_no_effect(&m1, &mut m4).await;
}

#[tokio::test]
async fn endless_headers_end_the_connection() {
    let (m1, mut m4) = start_m1_and_m4().await;
    // An empty frame, `accept-encoding` by its index, and a literal name and value.
    for payload in [&[][..], &[0x90], &[0x40, 1, b'a', 1, b'b']] {
        let mut hand = ManualConnection::open_as_m2(&m1).await;
        hand.write_bytes(&frame(HEADERS, 0, 1, &call_headers())).await;
        hand.write_frames((0..100_000).map(|_| frame(CONTINUATION, 0, 1, payload))).await;
        let code = hand.wait_for_close().await;
        assert!(is_flood_error(code), "{payload:?}: {code:?}");
    }
    assert_no_effect(&m1, &mut m4).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let (m1, mut m4) = start_m1_and_m4().await;
    let mut hand = ManualConnection::open_as_m2(&m1).await;
    hand.write_frames(stream_ids(300).map(|stream| frame(HEADERS, END_HEADERS, stream, &call_headers())))
        .await;
    assert!(hand.answers_ping().await, "streams beyond the limit are refused, but the connection stays");
    let peer = PeerRef::new("blue", "m2");
    eventually("its streams are open", || {
        m1.server.connected_peers().get(&peer).is_some_and(|p| p.streams >= 1)
    })
    .await;
    let open = m1.server.connected_peers()[&peer].streams;
    assert!(open <= ServerLimits::default().max_streams, "{open} streams are open");
    hand.close().await;
    assert_no_effect(&m1, &mut m4).await;
}

/// Frames without content are read or end the connection, and have no other effect.
#[tokio::test]
async fn empty_frames_have_no_effect() {
    let floods: [(&str, FrameGenerator); 7] = [
        ("empty DATA", |_| frame(DATA, 0, 1, &[])),
        ("PRIORITY", |index| frame(PRIORITY, 0, 2 * index + 3, &[0, 0, 0, 1, 16])),
        ("SETTINGS", |_| frame(SETTINGS, 0, 0, &[])),
        ("PING", |index| frame(PING, 0, 0, &u64::from(index).to_be_bytes())),
        ("WINDOW_UPDATE of the connection", |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("WINDOW_UPDATE of a stream", |_| frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        ("an unknown kind", |_| frame(0xbe, 0xff, 1, &[1, 2, 3])),
    ];
    for (what, one) in floods {
        let (m1, mut m4) = start_m1_and_m4().await;
        let mut hand = ManualConnection::open_as_m2(&m1).await;
        hand.write_bytes(&frame(HEADERS, END_HEADERS, 1, &call_headers())).await;
        hand.write_frames((0..50_000).map(one)).await;
        m1.announce("yellow", "during", &PeerVisibility::All);
        assert_eq!(m4.next_change().await, ("during".into(), true), "{what}");
        let goes_on = hand.answers_ping().await;
        println!("{what}: {}", if goes_on { "is read" } else { "ends the connection" });
        hand.close().await;
        assert_no_effect(&m1, &mut m4).await;
    }
}

/// A window above the maximum, a frame above the negotiated size, and a CONTINUATION without HEADERS.
#[tokio::test]
async fn frames_that_violate_the_protocol_end_the_connection() {
    let (m1, mut m4) = start_m1_and_m4().await;
    let wide = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    let long = frame(DATA, 0, 1, &vec![0; 17 * 1024]);
    let alone = frame(CONTINUATION, END_HEADERS, 1, &[]);
    for broken in [wide, long, alone] {
        let mut hand = ManualConnection::open_as_m2(&m1).await;
        hand.write_bytes(&frame(HEADERS, END_HEADERS, 1, &call_headers())).await;
        hand.write_bytes(&broken).await;
        assert!(hand.wait_for_close().await.is_some(), "{:?}", &broken[..9]);
    }
    assert_no_effect(&m1, &mut m4).await;
}
