//! Ports for programs that must be told one, and an address at which nobody listens. A port that the kernel chose and that
//! is given back may become another test's before it is used.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpSocket;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Below the ports that Linux gives to whoever asks for any, and between those of the scripts in tests/clients.
const FIRST: u32 = 30_000;
const COUNT: u32 = 1_000;

/// A free port on loopback that no other test is given.
pub fn own_port() -> u16 {
    for _ in 0..COUNT {
        let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}

/// Refuses connections as long as it lives: the port is taken and nobody listens.
pub struct Refusing {
    _socket: TcpSocket,
    pub address: SocketAddr,
}

impl Refusing {
    pub fn on_loopback() -> Refusing {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Refusing { _socket: socket, address }
    }
}
