//! The data port: bytes arrive whole, or both ends learn why not.

use crate::shelf::{MIB, Port, Shelves, pieces, some, whole};
use crate::support::{LOOPBACK, authority, mixed, raw_tls};
use bytes::Bytes;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tryworks_hub::Validity;
use tryworks_transport::{
    DataClient, DataError, DataLimits, Door, FrameReader, Incoming, Limits, LinkError, Role, Service, Share, chunks,
    serve_data, write_frame,
};

#[tokio::test]
async fn uploads_can_be_downloaded_over_the_same_connection() {
    let port = Port::start().await;
    let driver = port.driver();
    for len in [0, 1, 16_383, MIB - 1, MIB, MIB + 1, 5 * MIB + 7] {
        let bytes = some(len);
        port.put(&driver, "block", &bytes).await.unwrap();
        assert!(port.shelves.0.blocks.lock().unwrap()["block"] == bytes, "{len} bytes there");
        assert!(port.get(&driver, "block").await.unwrap() == bytes, "{len} bytes back");
        let refused = port.get(&driver, "another").await.unwrap_err();
        assert!(matches!(&refused, DataError::Refused { message, .. } if message == "there is no block another"));
    }
    assert_eq!(port.door.counts().connections, 1);
    assert_eq!(port.door.counts().turned_away, 0);
}

#[tokio::test]
async fn the_handler_learns_the_role_of_the_peer() {
    let port = Port::start().await;
    port.keep("block", &some(10));
    let engine = port.client(Role::Engine, DataLimits::default());
    port.get(&engine, "block").await.unwrap();
    port.get(&port.driver(), "block").await.unwrap();
    let expected = [(Role::Engine, "block".to_owned()), (Role::Driver, "block".to_owned())];
    assert_eq!(*port.shelves.0.asked.lock().unwrap(), expected);
    let error = port.put(&engine, "block", &some(10)).await.unwrap_err().to_string();
    assert!(error.contains("an engine puts nothing here"), "{error}");
}

#[tokio::test]
async fn a_failed_source_is_reported_with_its_offset() {
    let port = Port::start().await;
    let driver = port.driver();
    for (name, done, expected) in [
        ("breaks", 2, "the disk is gone"),
        ("too few", 2, "the source ended after 2097152 bytes of 4194304"),
        ("one too many", 3, "more than the 4194304 bytes that it promised"),
        ("panics later", 1, "a bug in Tryworks"),
    ] {
        let mut stream = driver.get(&port.address, Role::Engine, name.as_bytes()).await.unwrap();
        let mut last = Ok(Some(Bytes::new()));
        while let Ok(Some(_)) = last {
            last = stream.next_chunk().await;
        }
        match last.unwrap_err() {
            DataError::Failed { address, done: got, len, message } => {
                assert_eq!((address.as_str(), got, len), (port.address.as_str(), done * MIB as u64, 4 * MIB as u64));
                assert!(message.contains(expected), "{message}");
            }
            error => panic!("{error}"),
        }
        assert_eq!(stream.next_chunk().await, Ok(None));
    }
    // What comes after the last byte is never asked for.
    assert_eq!(port.get(&driver, "too many").await.unwrap().len(), 4 * MIB);
    let error = port.get(&driver, "panics").await.unwrap_err();
    assert!(matches!(&error, DataError::Refused { message, .. } if message.contains("bug")), "{error}");
    port.is_well().await;
}

#[tokio::test]
async fn a_cut_connection_is_reported_with_its_address_and_offset() {
    let mut port = Port::start().await;
    let _go_on = port.waits();
    let driver = port.driver();
    let mut stream = driver.get(&port.address, Role::Engine, b"waits").await.unwrap();
    assert_eq!(stream.next_chunk().await.unwrap(), Some(some(MIB)));
    assert_eq!(stream.next_chunk().await.unwrap(), Some(some(MIB)));
    let address = port.address.clone();
    // Another port at the same address: kept connections to the old one are not used again.
    let engine = port.authority.connection(Role::Engine).credentials().unwrap();
    let listen = port.door.address();
    drop(std::mem::replace(
        &mut port.door,
        serve_data(LOOPBACK, &engine, Limits::default(), Shelves::default()).await.unwrap(),
    ));
    match stream.next_chunk().await.unwrap_err() {
        DataError::Cut { address: at, done, len, .. } => {
            assert_eq!((at, done, len), (address.clone(), 2 * MIB as u64, 4 * MIB as u64));
        }
        error => panic!("{error}"),
    }
    port.door = loop {
        match serve_data(listen, &engine, Limits::default(), port.shelves.clone()).await {
            Ok(door) => break door,
            Err(LinkError::Listen { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    port.keep("block", &some(10));
    assert_eq!(port.get(&driver, "block").await.unwrap(), some(10));
    port.is_well().await;
}

#[tokio::test]
async fn a_closed_connection_in_the_pool_is_replaced() {
    let mut port = Port::start().await;
    port.keep("block", &some(10));
    let driver = port.driver();
    port.get(&driver, "block").await.unwrap();
    let (engine, listen) = (port.authority.connection(Role::Engine).credentials().unwrap(), port.door.address());
    drop(std::mem::replace(
        &mut port.door,
        serve_data(LOOPBACK, &engine, Limits::default(), Shelves::default()).await.unwrap(),
    ));
    port.door = loop {
        match serve_data(listen, &engine, Limits::default(), port.shelves.clone()).await {
            Ok(door) => break door,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(port.get(&driver, "block").await.unwrap(), some(10));
}

#[tokio::test]
async fn silence_has_a_limit() {
    let port = Port::start().await;
    let go_on = port.waits();
    let impatient = port.client(Role::Driver, DataLimits { silence: Duration::from_secs(1), ..DataLimits::default() });
    let error = port.get(&impatient, "waits").await.unwrap_err();
    match &error {
        DataError::Cut { done, message, .. } => {
            assert_eq!(*done, 2 * MIB as u64);
            assert!(message.contains("silent for 1s"), "{message}");
        }
        error => panic!("{error}"),
    }
    drop(go_on);
    port.is_well().await;
}

#[tokio::test]
async fn an_upload_that_cannot_be_kept_is_reported_to_its_sender() {
    let port = Port::start().await;
    let driver = port.driver();
    let bytes = some(8 * MIB);
    for (name, expected) in [("no disk", "the disk is full"), ("wrong", "not what its name says"), ("panics", "a bug")]
    {
        let error = port.put(&driver, name, &bytes).await.unwrap_err();
        assert!(matches!(&error, DataError::Failed { message, .. } if message.contains(expected)), "{name}: {error}");
    }
    let error = driver.put(&port.address, Role::Engine, b"big", u64::MAX, chunks(io::empty())).await.unwrap_err();
    assert!(matches!(&error, DataError::Refused { message, .. } if message.contains("no space")), "{error}");
    // Bytes that end too early at this end, are too many, or cannot be read.
    for (len, chunks, expected) in [
        (10, chunks(io::Cursor::new(some(9))), "they ended after 9 of 10"),
        (10, chunks(io::Cursor::new(some(11))), "there are more than 10"),
        (2 * MIB as u64, pieces(1, || Err(io::Error::other("bad sector"))), "bad sector"),
    ] {
        let error = driver.put(&port.address, Role::Engine, b"block", len, chunks).await.unwrap_err();
        assert!(matches!(&error, DataError::Source { message, .. } if message.contains(expected)), "{error}");
    }
    assert_eq!(port.shelves.0.blocks.lock().unwrap().len(), 0, "nothing of it was kept");
    port.put(&driver, "block", &bytes).await.unwrap();
    assert!(port.get(&driver, "block").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_small_bound_on_what_is_in_flight_holds_streams_up_but_stops_none() {
    let port = Port::start().await;
    port.keep("block", &some(3 * MIB));
    let driver = port.client(Role::Driver, DataLimits { in_flight: 1, ..DataLimits::default() });
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(driver.get(&port.address, Role::Engine, b"block").await.unwrap());
    }
    // As a merge would read: a piece of each stream in turn, with all streams open at once.
    for _ in 0..3 {
        for stream in &mut streams {
            assert_eq!(stream.next_chunk().await.unwrap().map(|chunk| chunk.len()), Some(MIB));
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (driver, address) = (driver.clone(), port.address.clone());
        tasks.spawn(async move { whole(driver.get(&address, Role::Engine, b"block").await.unwrap()).await.unwrap() });
    }
    while let Some(bytes) = tasks.join_next().await {
        assert!(bytes.unwrap() == some(3 * MIB));
    }
}

#[tokio::test]
async fn only_who_has_the_role_is_asked() {
    let port = Port::start().await;
    port.keep("block", &some(10));
    let driver = port.driver();
    let error = driver.get(&port.address, Role::Hub, b"block").await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    // A driver that listens is not accepted as an engine.
    let credentials = port.authority.connection(Role::Driver).credentials().unwrap();
    let false_port = serve_data(LOOPBACK, &credentials, Limits::default(), port.shelves.clone()).await.unwrap();
    for role in Role::ALL {
        let error = driver.get(&false_port.address().to_string(), role, b"block").await.unwrap_err();
        assert!(matches!(error, DataError::Link(LinkError::Distrust { .. })), "{error}");
    }
    let stranger = authority(Validity::default()).connection(Role::Driver);
    let stranger = DataClient::new(mixed(&port.authority.connection(Role::Driver), &stranger), DataLimits::default());
    let error = port.get(&stranger, "block").await.unwrap_err().to_string();
    assert!(error.contains("one end does not trust the other"), "{error}");
    let long = driver.get(&port.address, Role::Engine, &vec![0; MIB + 1]).await.unwrap_err();
    assert!(matches!(long, DataError::Link(LinkError::TooLong { .. })), "{long}");
    port.is_well().await;
}

#[tokio::test]
async fn a_full_port_refuses_with_the_reason() {
    let port = Port::start().await;
    let engine = port.authority.connection(Role::Engine).credentials().unwrap();
    let limits = Limits { connections: 1, ..Limits::default() };
    let narrow = serve_data(LOOPBACK, &engine, limits, port.shelves.clone()).await.unwrap();
    port.keep("block", &some(3 * MIB));
    let address = narrow.address().to_string();
    let driver = port.driver();
    let first = driver.get(&address, Role::Engine, b"block").await.unwrap();
    let error = driver.get(&address, Role::Engine, b"block").await.unwrap_err();
    assert!(
        matches!(&error, DataError::Refused { message, .. } if message.contains("there are 1 connections")),
        "{error}"
    );
    assert!(whole(first).await.unwrap() == some(3 * MIB));
}

#[tokio::test]
async fn malformed_requests_end_only_their_own_connection() {
    let port = Port::start().await;
    let driver = port.authority.connection(Role::Driver);
    let put = |len: u64, name: &str| [&[1][..], &len.to_le_bytes(), name.as_bytes()].concat();
    let kept = some(100);
    port.keep("kept", &kept);
    for (frames, answer) in [
        (vec![vec![]], None),
        (vec![vec![0; 8]], None),
        (vec![[&[2][..], &[0; 8], b"kept"].concat()], None),
        (vec![[&[0][..], &[1; 8], b"kept"].concat()], None),
        // More than was promised, less, no piece at all, and a connection that closes too early.
        (vec![put(5, "kept"), vec![0; 7]], Some("these are more than the 5 bytes")),
        (vec![put(5, "kept"), vec![0; 5], vec![1]], Some("these are 4 bytes, and 5 were promised")),
        (vec![put(5, "kept"), vec![9; 5]], None),
        (vec![put(5, "kept"), vec![0]], None),
        (vec![put(5, "kept"), vec![0; 3], vec![2, b'n', b'o']], None),
        (vec![put(5, "kept"), vec![0; 3]], None),
    ] {
        let stream = raw_tls(&port.address, &driver, true, Role::Engine).await;
        let (from, mut to) = tokio::io::split(stream);
        for frame in &frames {
            write_frame(&mut to, &[frame]).await.unwrap();
        }
        to.shutdown().await.unwrap();
        let mut from = FrameReader::new(from);
        let mut answers = Vec::new();
        while let Ok(Some(frame)) = from.next(MIB).await {
            answers.push(frame);
        }
        // The port first says that the upload may begin, then what went wrong with it.
        let accepted = usize::from(frames[0].first() == Some(&1));
        assert_eq!(answers.len(), accepted + usize::from(answer.is_some()), "{frames:?}: {answers:?}");
        if let Some(answer) = answer {
            let said = String::from_utf8_lossy(&answers[1][1..]);
            assert!(answers[1][0] == 2 && said.contains(answer), "{said}");
        }
        assert!(port.shelves.0.blocks.lock().unwrap()["kept"] == kept);
        port.is_well().await;
    }
    for head in [u32::MAX, 2 << 20] {
        let mut stream = raw_tls(&port.address, &driver, true, Role::Engine).await;
        stream.write_all(&head.to_le_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.read(&mut [0; 10]).await.unwrap_or(0), 0, "it is closed, though we did not");
    }
    let mut stranger = raw_tls(&port.address, &driver, false, Role::Engine).await;
    let error = stranger.read(&mut [0; 10]).await.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    port.is_well().await;
}

/// A port that answers each request with the frames that it was made with.
struct Lying(Vec<Vec<u8>>);

impl Service for Lying {
    async fn serve(&self, _: Role, stream: Incoming, _: Share) {
        let (from, mut to) = tokio::io::split(stream);
        let mut from = FrameReader::new(from);
        while let Ok(Some(_)) = from.next(2 * MIB).await {
            for frame in &self.0 {
                if write_frame(&mut to, &[frame]).await.is_err() {
                    return;
                }
            }
            // A frame that claims to be longer than it may be.
            let _ = to.write_all(&u32::MAX.to_le_bytes()).await;
            let _ = to.flush().await;
        }
    }

    async fn refuse(&self, _: Incoming, _: &str) {}
}

#[tokio::test]
async fn a_lying_port_harms_no_client() {
    let port = Port::start().await;
    let driver = port.driver();
    let engine = port.authority.connection(Role::Engine).credentials().unwrap();
    let accepted = |len: u64| [&[0][..], &len.to_le_bytes()].concat();
    for (frames, expected) in [
        (vec![], "claims to have 4294967295 bytes"),
        (vec![vec![]], "does not speak our protocol"),
        (vec![vec![7; 40]], "does not speak our protocol"),
        (vec![vec![1, 0xff, 0xfe]], "does not speak our protocol"),
        (vec![accepted(1 << 60)], "was cut after 0 of 1152921504606846976 bytes"),
        (vec![accepted(5), vec![0; 7]], "another number of bytes than it has promised"),
        (vec![accepted(5), vec![1]], "another number of bytes than it has promised"),
        (vec![accepted(5), vec![0]], "does not speak our protocol"),
        (vec![accepted(5), vec![0; 6], vec![]], "does not speak our protocol"),
    ] {
        let lying = Door::open(LOOPBACK, &engine, Limits::default(), Lying(frames.clone())).await.unwrap();
        let address = lying.address().to_string();
        let error = match driver.get(&address, Role::Engine, b"block").await {
            Err(error) => error,
            Ok(mut stream) => loop {
                match stream.next_chunk().await {
                    Err(error) => break error,
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{frames:?} were believed"),
                }
            },
        };
        assert!(error.to_string().contains(expected) && error.to_string().contains(&address), "{frames:?}: {error}");
    }
    port.is_well().await;
}
