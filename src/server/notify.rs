//! Telling a service manager how the server is, as sd_notify(3) describes it: one datagram a message on the socket
//! that `NOTIFY_SOCKET` names (a path, or an abstract name after `@`). Without the variable nothing is sent.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::settings::Environment;

/// The service manager that waits for this process, if there is one.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    pub fn of(environment: &Environment) -> Notify {
        let socket = environment.text("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, socket = %name, "NOTIFY_SOCKET is set and cannot be reached");
                None
            }
        });
        Notify { socket, watchdog: watchdog(environment) }
    }

    /// Everything answers. From now on a sign of life goes out twice in each watchdog period.
    pub fn ready(&self, status: &str) -> Option<JoinHandle<()>> {
        self.tell(&format!("READY=1\nSTATUS={status}"));
        let (period, socket) = (self.watchdog?, self.socket.as_ref()?.try_clone().ok()?);
        Some(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period / 2);
            loop {
                ticks.tick().await;
                tell(&socket, "WATCHDOG=1");
            }
        }))
    }

    /// The start takes longer, at most `further` from now.
    pub fn starting(&self, status: &str, further: Duration) {
        let status = status.replace('\n', " ");
        self.tell(&format!("STATUS={status}\nEXTEND_TIMEOUT_USEC={}", further.as_micros()));
    }

    /// A stop has begun and takes at most `patience`.
    pub fn stopping(&self, patience: Duration) {
        // systemd's own limit starts anew, so that a long drain is not cut off
        let micros = patience.saturating_add(Duration::from_secs(5)).as_micros();
        self.tell(&format!("STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC={micros}"));
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket {
            tell(socket, message);
        }
    }
}

fn tell(socket: &UnixDatagram, message: &str) {
    if let Err(error) = socket.send(message.as_bytes()) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // a manager that does not read must not hold the server up
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `WATCHDOG_USEC`, unless `WATCHDOG_PID` names another process.
fn watchdog(environment: &Environment) -> Option<Duration> {
    let ours = environment.text("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let micros: u64 = environment.text("WATCHDOG_USEC")?.parse().ok()?;
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::startup::Startup;

    fn manager() -> (tokio::net::UnixDatagram, String) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("chancery-test-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        (tokio::net::UnixDatagram::from_std(socket).unwrap(), format!("@{name}"))
    }

    async fn heard(socket: &tokio::net::UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).await.unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn ready_life_and_stop_reach_the_manager() {
        let (manager, name) = manager();
        let notify = Notify::of(&Environment::of(&[("NOTIFY_SOCKET", &name), ("WATCHDOG_USEC", "2000")]));
        let beats = notify.ready("Serving").unwrap();
        assert_eq!(heard(&manager).await, "READY=1\nSTATUS=Serving");
        assert_eq!(heard(&manager).await, "WATCHDOG=1");
        assert_eq!(heard(&manager).await, "WATCHDOG=1");
        beats.abort();
        notify.stopping(Duration::from_secs(5));
        let mut last = heard(&manager).await;
        while last == "WATCHDOG=1" {
            last = heard(&manager).await;
        }
        assert_eq!(last, "STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=10000000");
    }

    #[tokio::test]
    async fn a_migration_is_told_and_asks_for_more_time() {
        let (manager, name) = manager();
        let notify = Notify::of(&Environment::of(&[("NOTIFY_SOCKET", &name)]));
        let startup = Startup::default();
        startup.migrating("migrating the database to schema 36");
        let heard = tokio::select! {
            never = startup.tell(&notify) => match never {},
            heard = heard(&manager) => heard,
        };
        assert_eq!(heard, "STATUS=migrating the database to schema 36\nEXTEND_TIMEOUT_USEC=60000000");
        // afterwards a start that hangs is the manager's to end
        startup.migrated();
        assert_eq!(startup.doing(), None);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let silent = Notify::of(&Environment::of(&[("NOTIFY_SOCKET", "/nowhere/at/all")]));
        silent.stopping(Duration::ZERO);
        assert!(silent.socket.is_none());
        let other = Environment::of(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
        assert_eq!(Notify::of(&other).watchdog, None);
    }
}
