//! Stands in for what is written elsewhere at the same time.

pub mod transport {
    use std::path::PathBuf;

    pub fn home() -> Result<PathBuf, String> {
        Ok(std::env::var_os("TRYWORKS_HOME").map_or_else(|| std::env::temp_dir().join("tryworks"), PathBuf::from))
    }

    pub fn cluster_dir(name: &str) -> Result<PathBuf, String> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 32 || !name.chars().all(fine) || name.starts_with(['.', '-']) {
            return Err(format!("`{name}` is not a name for a cluster"));
        }
        Ok(home()?.join(name))
    }
}

pub mod tryworks_hub {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::path::PathBuf;
    use tokio::signal::unix::{SignalKind, signal};
    use tryworks_core::ids::EngineId;
    use tryworks_core::{Error, Result};
    use tryworks_engine::protocol::admin::{Answer, EngineRow, Question, Status};
    use tryworks_engine::protocol::driver::{FromDriver, ToDriver, Welcome};
    use tryworks_engine::protocol::{self, Hello, Purpose};
    use tryworks_transport::{PeerEvent, PeerId, Peers};

    pub struct Options {
        pub cluster: String,
        pub directory: PathBuf,
        pub listen: IpAddr,
        pub port: u16,
    }

    pub fn run(options: Options) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(options))
    }

    async fn serve(options: Options) -> Result<()> {
        let bad = |error: &dyn std::fmt::Display| Error::cluster(error, "stub");
        let _gateway = std::net::TcpListener::bind((options.listen, options.port)).map_err(|e| bad(&e))?;
        let (to, mut drivers) = Peers::bind(options.directory.join("drivers.sock")).await.map_err(|e| bad(&e))?;
        let (to_engines, mut engines) =
            Peers::bind(options.directory.join("engines.sock")).await.map_err(|e| bad(&e))?;
        std::fs::write(options.directory.join("driver.json"), "{}").unwrap();
        std::fs::write(options.directory.join("engine.json"), "{}").unwrap();
        let mut known = BTreeMap::<PeerId, EngineRow>::new();
        let mut end = signal(SignalKind::terminate()).unwrap();
        loop {
            tokio::select! {
                _ = end.recv() => return Ok(()),
                event = engines.recv() => match event.map_err(|e| bad(&e))? {
                    PeerEvent::Message { peer, bytes } => {
                        let hello = Hello::from_bytes(&bytes, "stub").unwrap();
                        let Purpose::Serve(offer) = hello.purpose else { continue };
                        let engine = EngineId(known.len() as u32);
                        to_engines.send(&peer, protocol::welcome(&engine)?.into()).map_err(|e| bad(&e))?;
                        known.insert(peer, EngineRow { engine, name: offer.name, host: hello.host, slots: offer.slots,
                            running: 0, memory: offer.memory, resident: 0, blocks: 0, state: "open".into() });
                    }
                    PeerEvent::Gone { peer } => { known.remove(&peer); }
                },
                event = drivers.recv() => {
                    let PeerEvent::Message { peer, bytes } = event.map_err(|e| bad(&e))? else { continue };
                    if bytes.starts_with(b"TWK1") {
                        let welcome = Welcome { session: tryworks_core::ids::SessionId(1), secret: [0; 16], known: false,
                            send_program: false, cluster: options.cluster.clone(), engines: 0, slots: 0, warning: None };
                        to.send(&peer, protocol::welcome(&welcome)?.into()).map_err(|e| bad(&e))?;
                        continue;
                    }
                    for message in protocol::decode::<FromDriver>(&bytes)? {
                        let FromDriver::Ask { number, question } = message else { continue };
                        let answer = match question {
                            Question::Status => Answer::Status(Status { cluster: options.cluster.clone(), pid: std::process::id(),
                                epoch: 1, engines: known.values().cloned().collect(), ..Status::default() }),
                            Question::Jobs { .. } => Answer::Jobs(Vec::new()),
                            _ => Answer::No("the stub does not know".into()),
                        };
                        let answer = ToDriver::Answer { number, answer: Box::new(answer) };
                        to.send(&peer, protocol::encode(&[answer])?.into()).map_err(|e| bad(&e))?;
                    }
                }
            }
        }
    }
}

pub mod process {
    use std::net::IpAddr;
    use std::path::PathBuf;
    use std::time::Duration;
    use tokio::signal::unix::{SignalKind, signal};
    use tryworks_core::{Error, Result};
    use tryworks_engine::protocol::engine::{Offer, StorePlace};
    use tryworks_engine::protocol::{Hello, HostInfo, Purpose};
    use tryworks_transport::Link;

    pub struct Options {
        pub name: String,
        pub connect: PathBuf,
        pub slots: u32,
        pub memory: u64,
        pub directory: PathBuf,
        pub quota: Option<u64>,
        pub listen: IpAddr,
    }

    pub fn run(options: Options) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _ = (options.quota, options.listen);
            let mut end = signal(SignalKind::terminate()).unwrap();
            loop {
                tokio::select! {
                    _ = end.recv() => return Ok(()),
                    _ = serve(&options) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
    }

    async fn serve(options: &Options) -> Result<()> {
        let bad = |error: &dyn std::fmt::Display| Error::cluster(error, "stub");
        let socket = options.connect.with_file_name("engines.sock");
        let (to, mut from) = Link::unix(socket).await.map_err(|e| bad(&e))?;
        let store = StorePlace {
            host: String::new(),
            directory: options.directory.display().to_string(),
            address: None,
            socket: String::new(),
            key: [0; 32],
        };
        let offer = Offer {
            name: options.name.clone(),
            slots: options.slots,
            memory: options.memory,
            store,
            held: Vec::new(),
            results: Vec::new(),
        };
        let hello = Hello {
            version: "stub".into(),
            host: HostInfo { pid: std::process::id(), ..HostInfo::default() },
            purpose: Purpose::Serve(Box::new(offer)),
        };
        to.send(hello.to_bytes()?.into()).map_err(|e| bad(&e))?;
        loop {
            from.recv().await.map_err(|e| bad(&e))?;
        }
    }
}
