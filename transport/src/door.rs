//! The door to TCP: it admits connections that show a certificate of the cluster in time, as far as there is capacity.

use crate::capacity::{Capacity, Share};
use crate::error::LinkError;
use crate::role::{Role, role_of};
use crate::strangers::Strangers;
use crate::tls::{Credentials, shown};
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// A connection that was admitted.
pub type Incoming = tokio_rustls::server::TlsStream<TcpStream>;

/// How long a refused peer may take to read the reason.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long to wait when the system cannot hold another connection, and when some have just been closed.
const FULL_PAUSE: Duration = Duration::from_millis(50);
const FREED_PAUSE: Duration = Duration::from_millis(1);

/// The limits of a door. Doors whose limits are clones of each other share a capacity.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a new connection may take to show its certificate.
    pub handshake: Duration,
    /// How many connections may be in their handshakes at once. One more takes the place of another that has sent
    /// nothing, from the address with the most of them.
    pub strangers: usize,
    /// How many connections with a certificate there may be.
    pub connections: usize,
    /// How many of them may have the same certificate. All engines of a cluster may share one.
    pub per_certificate: usize,
    /// What may be held in memory for the admitted connections.
    pub capacity: Capacity,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshake: Duration::from_secs(10),
            strangers: 256,
            connections: 2048,
            per_certificate: 1536,
            capacity: Capacity::default(),
        }
    }
}

/// The service behind a door.
pub trait Service: Send + Sync + 'static {
    /// Serves a connection of a process in this role until it ends. All memory that it holds for the connection has to
    /// come out of its share.
    fn serve(&self, role: Role, stream: Incoming, share: Share) -> impl Future<Output = ()> + Send;

    /// Tells a process of the cluster why it is not admitted.
    fn refuse(&self, stream: Incoming, why: &str) -> impl Future<Output = ()> + Send;
}

/// How many connections a door has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Connections that have not shown a certificate yet.
    pub strangers: usize,
    /// Connections that have.
    pub connections: usize,
    /// How many were refused so far, for any reason.
    pub turned_away: u64,
}

/// Listens at an address. Dropping it ends all its connections.
pub struct Door {
    address: SocketAddr,
    accepting: AbortHandle,
    state: Arc<Shared>,
}

impl Door {
    /// Listens at an address; port 0 takes a free one.
    ///
    /// # Errors
    /// If the system refuses the address.
    pub async fn open<S: Service>(
        listen: SocketAddr,
        credentials: &Credentials,
        limits: Limits,
        service: S,
    ) -> Result<Door, LinkError> {
        let failed =
            |error: std::io::Error| LinkError::Listen { address: listen.to_string(), message: error.to_string() };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(Shared { limits, guests: Mutex::default() });
        let visit = Visit { state: state.clone(), credentials: credentials.clone(), service: Arc::new(service) };
        let accepting = tokio::spawn(accept(listener, visit)).abort_handle();
        Ok(Door { address, accepting, state })
    }

    /// The address, with the port in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there are now.
    pub fn counts(&self) -> Counts {
        let guests = self.state.guests();
        Counts { strangers: guests.strangers.len(), connections: guests.connections, turned_away: guests.turned_away }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("address", &self.address).field("counts", &self.counts()).finish()
    }
}

/// Raises this process's limit of open files to what the system allows, which is often more than the initial limit. A
/// hub needs three files for each connection of its gateway.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // A process that may not raise the limit continues with the present one.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[derive(Default)]
struct Guests {
    strangers: Strangers,
    connections: usize,
    by_certificate: HashMap<Arc<[u8]>, usize>,
    turned_away: u64,
}

struct Shared {
    limits: Limits,
    guests: Mutex<Guests>,
}

impl Shared {
    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept<S: Service>(listener: TcpListener, visit: Visit<S>) {
    // The set ends its tasks when it is dropped.
    let mut visits = JoinSet::new();
    loop {
        let (tcp, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // A connection that was lost before it was accepted needs no pause. Nearly all other errors are about
                // too many open files.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    tokio::time::sleep(visit.state.make_space()).await;
                    continue;
                }
            },
            Some(_) = visits.join_next() => continue,
        };
        let mut guests = visit.state.guests();
        while guests.strangers.len() >= visit.state.limits.strangers.max(1) {
            turn_one_away(&mut guests);
        }
        // A client sends bytes with the very packet that completes the connection.
        let spoke =
            rustix::net::recv(&tcp, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|got| got.0 > 0);
        let number = guests.strangers.next_number();
        let task = visits.spawn(visit.clone().run(number, tcp));
        guests.strangers.add(address.ip(), spoke, task);
    }
}

fn turn_one_away(guests: &mut Guests) {
    if let Some(task) = guests.strangers.remove_least() {
        task.abort();
        guests.turned_away += 1;
    }
}

struct Visit<S> {
    state: Arc<Shared>,
    credentials: Credentials,
    service: Arc<S>,
}

impl<S> Clone for Visit<S> {
    fn clone(&self) -> Self {
        Visit { state: self.state.clone(), credentials: self.credentials.clone(), service: self.service.clone() }
    }
}

impl<S: Service> Visit<S> {
    async fn run(self, number: u64, tcp: TcpStream) {
        let limit = self.state.limits.handshake;
        let _ = crate::tls::set_up(&tcp);
        let greet = async {
            // A connection that sends nothing gets no further work.
            if tcp.peek(&mut [0; 1]).await.is_ok() {
                self.state.guests().strangers.spoke(number);
            }
            self.credentials.acceptor().accept(tcp).into_fallible().await
        };
        let known = match timeout(limit, greet).await {
            Ok(Ok(stream)) => shown(&stream).and_then(|der| Some((role_of(&der)?, der, stream))),
            Ok(Err((_, tcp))) => {
                let _ = timeout(FAREWELL.min(limit), farewell(tcp)).await;
                None
            }
            Err(_) => None,
        };
        let Some((role, der, stream)) = known else { return self.state.turn_away(number) };
        match self.state.admit(number, &der) {
            Ok(place) => {
                let share = self.state.limits.capacity.share(&place.certificate);
                self.service.serve(role, stream, share).await;
            }
            Err(why) => {
                let _ = timeout(FAREWELL, self.service.refuse(stream, &why)).await;
                self.state.turn_away(number);
            }
        }
    }
}

/// TLS's last message would be lost if received bytes were left unread.
async fn farewell(mut tcp: TcpStream) -> std::io::Result<()> {
    tcp.shutdown().await?;
    let mut rest = [0; 1024];
    while tcp.read(&mut rest).await? > 0 {}
    Ok(())
}

impl Shared {
    /// Closes half of the connections that are still in their handshakes. An admitted connection needs more files than
    /// its own.
    fn make_space(&self) -> Duration {
        let mut guests = self.guests();
        let half = guests.strangers.len().div_ceil(2);
        for _ in 0..half {
            turn_one_away(&mut guests);
        }
        if half == 0 { FULL_PAUSE } else { FREED_PAUSE }
    }

    fn turn_away(&self, number: u64) {
        let mut guests = self.guests();
        if guests.strangers.remove(number) {
            guests.turned_away += 1;
        }
    }

    /// Admits a connection whose handshake is done, or says why there is no capacity for it.
    fn admit(self: &Arc<Self>, number: u64, der: &[u8]) -> Result<Place, String> {
        let mut guests = self.guests();
        if guests.connections >= self.limits.connections {
            return Err(format!("there are {} connections, and no more are accepted", self.limits.connections));
        }
        let same = guests.by_certificate.get(der).copied().unwrap_or_default();
        if same >= self.limits.per_certificate {
            return Err(format!("there are {same} connections with this certificate, and no more are accepted"));
        }
        guests.strangers.remove(number);
        guests.connections += 1;
        let certificate: Arc<[u8]> = der.into();
        guests.by_certificate.insert(certificate.clone(), same + 1);
        Ok(Place { state: self.clone(), certificate })
    }
}

/// The place of a connection, which is freed when this is dropped.
struct Place {
    state: Arc<Shared>,
    certificate: Arc<[u8]>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.state.guests();
        guests.connections -= 1;
        if let Some(same) = guests.by_certificate.get_mut(&self.certificate) {
            *same -= 1;
            if *same == 0 {
                guests.by_certificate.remove(&self.certificate);
            }
        }
    }
}
