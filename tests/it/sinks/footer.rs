//! A format with a footer, like columnar formats: items are gathered in groups, and the footer says where each group
//! begins.

use serde::{Deserialize, Serialize};
use tryworks::memory::Reservation;
use tryworks::places::Directory;
use tryworks::prelude::*;
use tryworks::sink::{Buffer, Encoder, Format};
use tryworks::task::TaskContext;

const MAGIC: &[u8; 4] = b"GRP1";

/// Numbers in groups. After them come the place of each group, the number of groups, and a magic number.
#[derive(Clone, Serialize, Deserialize)]
struct Groups {
    rows: usize,
}

struct GroupEncoder {
    rows: usize,
    gathered: Vec<u64>,
    places: Vec<u64>,
    _held: Reservation,
}

impl GroupEncoder {
    fn end_group(&mut self, to: &mut Buffer) {
        self.places.push(to.position());
        to.bytes().extend((self.gathered.len() as u64).to_le_bytes());
        self.gathered.drain(..).for_each(|n| to.bytes().extend(n.to_le_bytes()));
    }
}

impl Format<u64> for Groups {
    type Encoder = GroupEncoder;

    fn begin(&self, task: &TaskContext, to: &mut Buffer) -> Result<GroupEncoder> {
        let mut held = task.host().memory().reservation();
        held.insist(self.rows as u64 * 8);
        to.bytes().extend(MAGIC);
        Ok(GroupEncoder { rows: self.rows, gathered: Vec::new(), places: Vec::new(), _held: held })
    }

    fn extension(&self) -> &str {
        ".groups"
    }
}

impl Encoder<u64> for GroupEncoder {
    fn write(&mut self, number: u64, to: &mut Buffer) -> Result<()> {
        self.gathered.push(number);
        if self.gathered.len() == self.rows {
            self.end_group(to);
        }
        Ok(())
    }

    fn end(mut self, to: &mut Buffer) -> Result<()> {
        if !self.gathered.is_empty() {
            self.end_group(to);
        }
        self.places.iter().for_each(|place| to.bytes().extend(place.to_le_bytes()));
        to.bytes().extend((self.places.len() as u64).to_le_bytes());
        to.bytes().extend(MAGIC);
        Ok(())
    }
}

/// Reads a file from its end, as readers of this kind of format do; returns the groups.
fn groups(bytes: &[u8]) -> Vec<Vec<u64>> {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&MAGIC[..], &MAGIC[..]));
    let count = number(bytes.len() - 12) as usize;
    let places = (0..count).map(|n| number(bytes.len() - 12 - 8 * (count - n)) as usize);
    places.map(|at| (1..=number(at) as usize).map(|n| number(at + 8 * n)).collect()).collect()
}

#[test]
fn a_footer_says_where_in_the_file_things_are() -> Result<()> {
    let cx = Context::local(2)?;
    let scratch = tempfile::tempdir()?;
    // Large enough for the buffer to be emptied several times.
    let numbers = cx.range_in(0..300_000, 3).filter(|n| !(100_000..200_000).contains(n));
    let expected = [(0..100_000).collect(), vec![], (200_000..300_000).collect::<Vec<u64>>()];
    for at_driver in [false, true] {
        let dir = scratch.path().join(format!("{at_driver}"));
        let sink = (Groups { rows: 7_000 }, Directory::new(&dir)?);
        if at_driver {
            numbers.to_driver().save(sink)?
        } else {
            numbers.save(sink)?
        }
        for (part, expected) in expected.iter().enumerate() {
            let found = groups(&std::fs::read(dir.join(format!("part-0000{part}.groups")))?);
            assert!(found.iter().rev().skip(1).all(|group| group.len() == 7_000));
            assert_eq!((found.len(), &found.concat()), (expected.len().div_ceil(7_000), expected));
        }
        assert_eq!(std::fs::read_dir(&dir)?.count(), 4, "three parts and `_SUCCESS`");
    }
    Ok(())
}

#[test]
fn an_error_of_a_format_fails_the_job_and_nothing_stays() -> Result<()> {
    #[derive(Clone, Serialize, Deserialize)]
    struct Picky;

    impl Format<u64> for Picky {
        type Encoder = Picky;

        fn begin(&self, _: &TaskContext, _: &mut Buffer) -> Result<Picky> {
            Ok(Picky)
        }
    }

    impl Encoder<u64> for Picky {
        fn write(&mut self, number: u64, _: &mut Buffer) -> Result<()> {
            if number == 77 { Err(Error::input("the items", Some(number), "77 has no form here")) } else { Ok(()) }
        }

        fn end(self, _: &mut Buffer) -> Result<()> {
            Ok(())
        }
    }

    let cx = Context::local(2)?;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("out");
    let error = cx.range_in(0..100, 5).save((Picky, Directory::new(&dir)?)).unwrap_err();
    assert!(error.to_string().contains("77 has no form here"), "{error}");
    assert!(!dir.exists());
    Ok(())
}
