//! The gateway: it passes messages of other machines to the hub's unix sockets. No ZeroMQ bytes are accepted from
//! another machine. Peers send Tryworks's own frames, and the gateway itself is the ZeroMQ peer that the hub sees.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::time::timeout;
use tryworks_base::MAX_MESSAGE;
use tryworks_transport::{
    Credentials, Door, FrameReader, Incoming, Limits, Link, LinkError, LinkReceiver, LinkSender, Role, Service, Share,
    refuse, welcome, write_frame,
};

/// How long sending the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The sockets that a gateway leads to.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// The socket for drivers.
    pub drivers: PathBuf,
    /// The socket for engines.
    pub engines: PathBuf,
}

/// Listens at an address; port 0 takes any free port. Connects each peer with the hub's socket for the role in the
/// peer's certificate, until the returned door is dropped.
///
/// # Errors
/// If the system refuses the address.
pub async fn open_gateway(
    listen: SocketAddr,
    credentials: &Credentials,
    limits: Limits,
    sockets: Sockets,
) -> Result<Door, LinkError> {
    Door::open(listen, credentials, limits, sockets).await
}

impl Service for Sockets {
    async fn serve(&self, role: Role, stream: Incoming, share: Share) {
        let path = match role {
            Role::Driver => &self.drivers,
            Role::Engine => &self.engines,
            Role::Hub => return self.refuse(stream, "a hub does not report to another").await,
        };
        let link = match Link::unix(path).await {
            Ok(link) => link,
            Err(_) => return self.refuse(stream, "the hub is not ready; try again").await,
        };
        let (from, to) = tokio::io::split(stream);
        let mut to = BufWriter::with_capacity(16 << 10, to);
        let mut from = FrameReader::within(from, share.clone());
        // When one end is gone or breaks the rules, the other is closed too.
        tokio::select! {
            () = carry_in(&mut from, link.0) => {}
            () = carry_out(link.1, &mut to, &share) => {}
        }
        let _ = timeout(FAREWELL, to.shutdown()).await;
    }

    async fn refuse(&self, mut stream: Incoming, why: &str) {
        let _ = timeout(FAREWELL, refuse(&mut stream, why)).await;
    }
}

/// Reads nothing more until the hub has taken the last message. A peer that sends faster has to wait.
async fn carry_in(from: &mut FrameReader<ReadHalf<Incoming>>, to: LinkSender) {
    while let Ok(Some(message)) = from.next(MAX_MESSAGE).await {
        if to.pass(message).await.is_err() {
            return;
        }
    }
}

/// Bytes that a peer does not read take memory from the peer's share. They wait only for a limited time, because a
/// machine may vanish without notice.
async fn carry_out(mut from: LinkReceiver, to: &mut BufWriter<WriteHalf<Incoming>>, share: &Share) {
    let carry = async {
        share.patiently(welcome(to)).await??;
        while let Ok(message) = from.recv().await {
            let mut next = Some(message);
            while let Some(message) = next {
                let _held = share.take_long(message.len()).await;
                share.patiently(write_frame(to, &[&message])).await??;
                next = from.ready();
            }
            share.patiently(to.flush()).await??;
        }
        Ok::<_, std::io::Error>(())
    };
    // The other end sees why it failed.
    let _ = carry.await;
}
