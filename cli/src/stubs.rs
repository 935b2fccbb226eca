//! Stands in for what is written elsewhere at the same time.

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
            key: serde_json::from_value(vec![0; 32].into()).unwrap(),
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
