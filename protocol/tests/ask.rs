//! The command line's end of a connection to a hub, against simulated hubs.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use tryworks_protocol as protocol;
use tryworks_protocol::admin::{Answer, Question};
use tryworks_protocol::ask::{Admin, AdminError};
use tryworks_protocol::driver::{FromDriver, ToDriver, Welcome};
use tryworks_protocol::{Hello, Purpose};
use tryworks_transport::{Backlog, PeerEvent, Peers};

/// A directory with a simulated hub. Its answer to each message depends on how many messages came before.
fn hub(mut answer: impl FnMut(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("c");
    std::fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
    let (ready, listens) = mpsc::channel();
    let socket = directory.join("drivers.sock");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (to, mut from) = Peers::bind(&socket, Backlog::default()).await.unwrap();
            ready.send(()).unwrap();
            let mut before = 0;
            while let Ok(PeerEvent::Message { peer, bytes }) = from.recv().await {
                match answer(before, &bytes) {
                    Some(bytes) => to.send(&peer, bytes.into()).unwrap(),
                    None => return,
                }
                before += 1;
            }
        });
    });
    listens.recv().unwrap();
    (above, directory)
}

fn welcome() -> Vec<u8> {
    let cluster = "played".into();
    let session = tryworks_base::ids::SessionId(1);
    protocol::welcome(&Welcome {
        session,
        secret: [0; 16],
        epoch: 1,
        send_program: false,
        host: String::new(),
        cluster,
        engines: 0,
        slots: 0,
        warning: None,
    })
    .unwrap()
}

#[test]
fn answers_belong_to_their_questions() {
    let (_above, directory) = hub(|before, bytes| {
        if before == 0 {
            let hello = Hello::from_bytes(bytes, "test").unwrap();
            assert_eq!(hello.purpose, Purpose::Administer);
            return Some(welcome());
        }
        let asked: Vec<FromDriver> = protocol::decode(bytes).unwrap();
        let [FromDriver::Ask { number, question: Question::Jobs { limit } }] = asked[..] else { panic!("{asked:?}") };
        let answer = |number, text: String| ToDriver::Answer { number, answer: Box::new(Answer::Done(text)) };
        // Messages that do not answer the question are ignored.
        let batch = [ToDriver::Notice("hm".into()), answer(number + 9, "no".into()), answer(number, limit.to_string())];
        Some(protocol::encode(&batch).unwrap())
    });
    let mut admin = Admin::connect(&directory).unwrap();
    for limit in [7, 8] {
        assert_eq!(admin.ask(Question::Jobs { limit }).unwrap(), Answer::Done(limit.to_string()));
    }
}

#[test]
fn a_refusal_has_the_hubs_reason() {
    let (_above, directory) = hub(|_, _| Some(protocol::refusal("not today")));
    let error = Admin::connect(&directory).unwrap_err();
    assert!(matches!(&error, AdminError::Refused { why, .. } if why == "not today"), "{error}");
}

#[test]
fn a_hub_that_goes_away_is_not_waited_for() {
    let (_above, directory) = hub(|before, _| (before == 0).then(welcome));
    let mut admin = Admin::connect(&directory).unwrap();
    let error = admin.ask(Question::Status).unwrap_err();
    assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
}

#[test]
fn no_hub_is_an_error_that_says_what_to_do() {
    for place in ["/not/there", "/not/there/driver.json"] {
        let error = Admin::connect(Path::new(place)).unwrap_err();
        assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("tryworks cluster start"), "{error}");
    }
}

#[test]
fn an_unreadable_answer_is_an_error() {
    let (_above, directory) = hub(|before, _| Some(if before == 0 { welcome() } else { vec![0xff; 40] }));
    let mut admin = Admin::connect(&directory).unwrap();
    assert!(matches!(admin.ask(Question::Status).unwrap_err(), AdminError::Unreachable { .. }));
}
