//! The authority: what it stores, what it renews, and what it never shows.

use crate::support::{authority, key, private_dir};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tryworks_hub::{Authority, Validity};
use tryworks_transport::{Role, role_of};

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[test]
fn each_role_has_its_own_certificate() {
    let authority = authority(Validity::default());
    for role in Role::ALL {
        let connection = authority.connection(role);
        assert_eq!(role_of(&der(&connection.certificate)), Some(role));
        assert_eq!(connection.credentials().unwrap().role(), role);
        assert_eq!(connection.cluster_id, authority.cluster_id());
        for other in Role::ALL.into_iter().filter(|other| *other != role) {
            assert_ne!(key(&connection), key(&authority.connection(other)));
        }
        let mut posing = connection.clone();
        posing.role = if role == Role::Driver { Role::Engine } else { Role::Driver };
        let error = posing.credentials().unwrap_err().to_string();
        assert!(error.contains("its certificate for"), "{error}");
    }
    assert_eq!(role_of(&der(&authority.connection(Role::Hub).authority)), None, "the authority itself has no role");
}

#[test]
fn it_is_the_same_after_a_restart_and_another_after_a_rotation() {
    let directory = private_dir();
    let file = directory.path().join("authority.json");
    let first = Authority::open(directory.path(), Validity::default()).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut second = Authority::open(directory.path(), Validity::default()).unwrap();
    for role in Role::ALL {
        assert_eq!(first.connection(role), second.connection(role));
    }
    second.rotate().unwrap();
    let third = Authority::open(directory.path(), Validity::default()).unwrap();
    for role in Role::ALL {
        let (old, new) = (first.connection(role), third.connection(role));
        assert_eq!(second.connection(role), new);
        assert_eq!(old.cluster_id, new.cluster_id);
        assert_ne!(old.authority, new.authority);
        assert_ne!(old.certificate, new.certificate);
        assert_ne!(key(&old), key(&new));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn certificates_are_renewed_in_time_by_the_same_authority() {
    let directory = private_dir();
    let short = Validity { leaves: Duration::from_secs(3600), ..Validity::default() };
    let first = Authority::open(directory.path(), short).unwrap();
    let second = Authority::open(directory.path(), Validity::default()).unwrap();
    for role in Role::ALL {
        let (old, new) = (first.connection(role), second.connection(role));
        assert_eq!(old.authority, new.authority);
        assert_ne!(old.certificate, new.certificate);
        new.credentials().unwrap();
    }
}

#[test]
fn an_authority_that_others_can_read_or_that_is_garbled_is_refused() {
    let directory = private_dir();
    let file = directory.path().join("authority.json");
    let first = Authority::open(directory.path(), Validity::default()).unwrap();
    let open = || Authority::open(directory.path(), Validity::default()).unwrap_err().to_string();

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open().contains("chmod 600"), "{}", open());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(open().contains("chmod 700"), "{}", open());
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();

    let text = std::fs::read_to_string(&file).unwrap();
    let secret = key(&first.connection(Role::Hub)).lines().nth(1).unwrap().to_owned();
    for garbled in
        [text.replace("\"hub\"", "\"hob\""), text[..text.len() / 2].to_owned(), text.replace("made\": ", "made\": \"")]
    {
        std::fs::write(&file, garbled).unwrap();
        assert!(open().contains("garbled"), "{}", open());
        assert!(!open().contains(&secret));
    }
    std::fs::write(&file, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(open().contains("another version"), "{}", open());
    std::fs::write(&file, text).unwrap();
    assert_eq!(
        Authority::open(directory.path(), Validity::default()).unwrap().connection(Role::Hub),
        first.connection(Role::Hub)
    );
}

#[test]
fn keys_are_never_shown() {
    let authority = authority(Validity::default());
    for role in Role::ALL {
        let connection = authority.connection(role);
        let secret = key(&connection);
        let secret = secret.lines().nth(1).unwrap();
        assert!(secret.len() > 40);
        let shown = format!("{authority:?} {connection:?} {:?}", connection.credentials().unwrap());
        assert!(!shown.contains(secret) && !shown.contains("PRIVATE"), "{shown}");
    }
}
