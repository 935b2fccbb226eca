//! The hub's data port: the programs of drivers, and files that drivers upload, by their hashes. Drivers on other
//! machines upload them there, and engines on other machines download them.

use crate::state::{OrderOutcome, ShelfOrder};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc::UnboundedSender;
use tryworks_base::codec;
use tryworks_base::lock::{Held, Lock};
use tryworks_protocol::HostInfo;
use tryworks_protocol::driver::GivenFile;
use tryworks_protocol::program::Program;
use tryworks_store::programs::{Programs, make_directory, name_of, named};
use tryworks_transport::{DataHandler, Download, Role, Upload};

/// The most bytes of programs that other machines may upload.
const QUOTA: u64 = 8 << 30;

/// The programs that the hub has, or can copy from this machine.
#[derive(Clone)]
pub(crate) struct Shelf {
    /// The directory of the programs.
    programs: Arc<Programs>,
    quota: u64,
    state: Arc<Lock<State>>,
    /// The number of the next upload.
    arrivals: Arc<AtomicU64>,
    /// Tells the hub's state what has arrived and what was removed.
    outcomes: UnboundedSender<OrderOutcome>,
}

#[derive(Default)]
struct State {
    /// The sizes of what is in the directory, by hash.
    here: BTreeMap<[u8; 32], u64>,
    /// What drivers gave along as a file, not as a program. It is in the directory or can be linked there.
    given: BTreeSet<[u8; 32]>,
    /// How many uploads of each hash no driver has named yet. They stay until one does.
    promised: BTreeMap<[u8; 32], u32>,
    /// How many bytes are being received.
    arriving: u64,
    /// The programs of current sessions, each with the driver's process if that is on this machine.
    used: HashMap<[u8; 32], (Program, Option<u32>)>,
}

impl State {
    /// A driver has named something that it uploaded.
    fn came(&mut self, id: &[u8; 32]) {
        if let Some(count) = self.promised.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.promised.remove(id);
            }
        }
    }
}

impl Shelf {
    /// The shelf in this directory, with what an earlier hub left there.
    pub(crate) fn open(directory: PathBuf, outcomes: UnboundedSender<OrderOutcome>) -> io::Result<Self> {
        Self::with_quota(directory, QUOTA, outcomes)
    }

    fn with_quota(directory: PathBuf, quota: u64, outcomes: UnboundedSender<OrderOutcome>) -> io::Result<Self> {
        let mut state = State::default();
        if directory.is_dir() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                match entry.file_name().to_str().and_then(named) {
                    Some(id) => drop(state.here.insert(id, entry.metadata()?.len())),
                    // An upload that did not arrive whole.
                    None => drop(fs::remove_file(entry.path())),
                }
            }
        }
        let state = Arc::new(Lock::new(state));
        let programs = Arc::new(Programs::new(directory));
        Ok(Shelf { programs, quota, state, arrivals: Arc::default(), outcomes })
    }

    fn state(&self) -> Held<'_, State> {
        self.state.lock()
    }

    /// The hashes of everything in the directory.
    pub(crate) fn ids(&self) -> BTreeSet<[u8; 32]> {
        self.state().here.keys().copied().collect()
    }

    /// The state must learn of an upload before it reads the driver's next message. When the hub has ended, this does
    /// nothing.
    fn tell(&self, outcome: OrderOutcome) {
        drop(self.outcomes.send(outcome));
    }

    /// Carries out an order of the hub's state.
    pub(crate) fn obey(&self, order: &ShelfOrder) {
        match order {
            ShelfOrder::UseProgram { program, host } => self.use_program(program, host),
            ShelfOrder::UseAgain(program) => self.use_again(program),
            ShelfOrder::UseFile { file, here } => self.use_file(file, *here),
            ShelfOrder::UseSent(id) => drop(self.use_sent(*id)),
            ShelfOrder::Tidy(used) => self.tidy(used),
        }
    }

    /// A driver has connected, and this is its program.
    fn use_program(&self, program: &Program, host: &HostInfo) {
        let own = (host.id == tryworks_protocol::host::here().id).then_some(host.pid);
        let mut state = self.state();
        state.came(&program.id);
        state.used.insert(program.id, (program.clone(), own));
    }

    /// A session of the previous hub continues, and this is its program.
    fn use_again(&self, program: &Program) {
        self.state().used.insert(program.id, (program.clone(), Some(0)));
    }

    /// A driver has given this file along. If the driver is on this machine, the file is linked when an engine asks for
    /// it.
    fn use_file(&self, file: &GivenFile, here: bool) {
        let program = Program { id: file.id, path: file.path.clone(), bytes: file.bytes, ..Program::default() };
        let mut state = self.state();
        state.came(&file.id);
        state.used.entry(file.id).or_insert((program, here.then_some(0)));
        state.given.insert(file.id);
    }

    /// A job needs what was uploaded under this hash. Returns whether it is here.
    fn use_sent(&self, id: [u8; 32]) -> bool {
        let mut state = self.state();
        let here = state.here.contains_key(&id);
        state.came(&id);
        if here {
            state.used.entry(id).or_insert((Program { id, ..Program::default() }, None));
            state.given.insert(id);
        }
        here
    }

    /// Only these are still in use. Unused programs stay until their space is needed; unused files are removed at once.
    fn tidy(&self, used: &BTreeSet<[u8; 32]>) {
        let mut state = self.state();
        state.used.retain(|id, _| used.contains(id));
        let State { given, promised, .. } = &mut *state;
        let gone = given.extract_if(.., |id| !used.contains(id) && !promised.contains_key(id));
        for id in gone.collect::<Vec<_>>() {
            state.here.remove(&id);
            self.programs.remove(&id);
            self.tell(OrderOutcome::Removed(id));
        }
    }

    /// Reserves space for an upload of this size, and removes unused programs if necessary. An upload that can never
    /// fit removes nothing.
    fn reserve(&self, bytes: u64) -> Result<(), String> {
        let mut state = self.state();
        let State { here, arriving, used, .. } = &mut *state;
        let mut held = here.values().sum::<u64>() + *arriving;
        let fits = |held: u64| held.checked_add(bytes).is_some_and(|needed| needed <= self.quota);
        let unused: Vec<_> = here.keys().copied().filter(|id| !used.contains_key(id)).collect();
        for id in unused.into_iter().filter(|_| bytes <= self.quota) {
            if fits(held) {
                break;
            }
            self.programs.remove(&id);
            held -= here.remove(&id).unwrap_or_default();
            self.tell(OrderOutcome::Removed(id));
        }
        if !fits(held) {
            let needed = held.saturating_add(bytes);
            return Err(format!("the programs of this cluster would take {needed} bytes, but may take {}", self.quota));
        }
        *arriving += bytes;
        Ok(())
    }

    /// Opens a program or a file that was given along. If its driver is on this machine, it is taken from the driver's
    /// file.
    fn find(&self, id: &[u8; 32]) -> Result<File, String> {
        let own = {
            let state = self.state();
            let own = state.used.get(id).and_then(|(program, pid)| Some((program.clone(), (*pid)?)));
            own.map(|own| (own, state.given.contains(id)))
        };
        let path = match own {
            Some(((file, _), true)) => self.lend(&file).map_err(|error| format!("{}: {error}", file.path))?,
            Some(((program, pid), false)) => self
                .programs
                .take(&program.id, program.bytes, Path::new(&program.path), Some(pid))
                .map_err(|error| error.to_string())?,
            None => self.programs.place(id),
        };
        File::open(path).map_err(|_| format!("there is no program {}", name_of(id)))
    }

    /// The place of a file that was given along. It is a hard link if possible, which takes no space. Its receiver
    /// checks its hash, and no process runs it from here.
    fn lend(&self, file: &Program) -> io::Result<PathBuf> {
        let place = self.programs.place(&file.id);
        if place.exists() {
            return Ok(place);
        }
        make_directory(self.programs.directory())?;
        if fs::hard_link(&file.path, &place).is_err() {
            let new = self.programs.directory().join(format!(
                "{}.{}",
                name_of(&file.id),
                self.arrivals.fetch_add(1, Relaxed)
            ));
            let copied = fs::copy(&file.path, &new).and_then(|_| fs::rename(&new, &place));
            copied.inspect_err(|_| drop(fs::remove_file(&new)))?;
        }
        Ok(place)
    }
}

fn program_of(request: &[u8]) -> Result<[u8; 32], String> {
    match codec::decode::<[u8; 32]>(request) {
        Ok((id, taken)) if taken == request.len() => Ok(id),
        _ => Err("the request cannot be read".into()),
    }
}

impl DataHandler for Shelf {
    fn get(&self, role: Role, request: &[u8]) -> Result<Download, String> {
        if role != Role::Engine {
            return Err("only engines may download programs".into());
        }
        let file = self.find(&program_of(request)?)?;
        let bytes = file.metadata().map_err(|error| error.to_string())?.len();
        Ok(Download::read(file, bytes))
    }

    fn put(&self, role: Role, request: &[u8], len: u64) -> Result<Box<dyn Upload>, String> {
        if role != Role::Driver {
            return Err("only drivers may upload programs".into());
        }
        let id = program_of(request)?;
        self.reserve(len)?;
        let arrival = Arriving::new(self.clone(), id, len);
        arrival.map(|arrival| Box::new(arrival) as Box<dyn Upload>).map_err(|error| {
            self.state().arriving -= len;
            error.to_string()
        })
    }
}

/// An upload in progress. Unless it arrives whole, nothing of it stays.
struct Arriving {
    shelf: Shelf,
    id: [u8; 32],
    len: u64,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl Arriving {
    fn new(shelf: Shelf, id: [u8; 32], len: u64) -> io::Result<Self> {
        make_directory(shelf.programs.directory())?;
        let number = shelf.arrivals.fetch_add(1, Relaxed);
        let path = shelf.programs.directory().join(format!("{}.{number}", name_of(&id)));
        let file = File::options().write(true).create_new(true).mode(0o700).open(&path)?;
        Ok(Arriving { shelf, id, len, path, file, hasher: blake3::Hasher::new() })
    }

    fn settle(&self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)
    }
}

impl Upload for Arriving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> Result<(), String> {
        if *self.hasher.finalize().as_bytes() != self.id {
            return Err("the upload has another hash than the program: was it rebuilt meanwhile?".into());
        }
        // The lock is held so that `tidy` does not remove this upload under the same name.
        let mut state = self.shelf.state();
        self.settle(&self.shelf.programs.place(&self.id)).map_err(|error| error.to_string())?;
        state.here.insert(self.id, self.len);
        *state.promised.entry(self.id).or_default() += 1;
        self.shelf.tell(OrderOutcome::Arrived(self.id));
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.shelf.state().arriving -= self.len;
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn shelf(quota: u64) -> (tempfile::TempDir, Shelf) {
        let directory = tempfile::tempdir().unwrap();
        let shelf = reopened(&directory.path().join("programs"), quota);
        (directory, shelf)
    }

    fn reopened(directory: &Path, quota: u64) -> Shelf {
        let (outcomes, _) = tokio::sync::mpsc::unbounded_channel();
        Shelf::with_quota(directory.to_path_buf(), quota, outcomes).unwrap()
    }

    fn request(id: &[u8; 32]) -> Vec<u8> {
        let mut request = Vec::new();
        codec::encode(id, &mut request).unwrap();
        request
    }

    fn put(shelf: &Shelf, id: &[u8; 32], bytes: &[u8]) -> Result<(), String> {
        let mut upload = shelf.put(Role::Driver, &request(id), bytes.len() as u64)?;
        bytes.chunks(3).for_each(|chunk| upload.write(chunk).unwrap());
        upload.finish()
    }

    fn got(shelf: &Shelf, id: &[u8; 32]) -> Result<Vec<u8>, String> {
        let download = shelf.get(Role::Engine, &request(id))?;
        Ok(download.chunks.flat_map(|chunk| chunk.unwrap().to_vec()).collect())
    }

    fn files(shelf: &Shelf) -> usize {
        fs::read_dir(shelf.programs.directory()).map_or(0, Iterator::count)
    }

    #[test]
    fn an_engine_gets_what_a_driver_uploaded_even_from_the_next_hub() {
        let (_directory, shelf) = shelf(100);
        let id = *blake3::hash(b"a program").as_bytes();
        assert!(got(&shelf, &id).unwrap_err().contains("there is no program"));
        put(&shelf, &id, b"a program").unwrap();
        assert_eq!(got(&shelf, &id).unwrap(), b"a program");
        let mode = fs::metadata(shelf.programs.place(&id)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(shelf.programs.directory().join("../programs/half.0"), b"half").unwrap();
        let next = reopened(shelf.programs.directory(), 100);
        assert!(next.ids().contains(&id) && got(&next, &id).unwrap() == b"a program");
        assert_eq!(files(&next), 1, "the unfinished upload is gone");
    }

    #[test]
    fn uploads_that_are_wrong_incomplete_or_too_large_leave_nothing_behind() {
        let (_directory, shelf) = shelf(10);
        let id = *blake3::hash(b"a program").as_bytes();
        assert!(put(&shelf, &id, b"another").unwrap_err().contains("another hash"));
        let mut half = shelf.put(Role::Driver, &request(&id), 9).unwrap();
        half.write(b"a pro").unwrap();
        drop(half);
        assert!(shelf.put(Role::Driver, &request(&id), 11).err().unwrap().contains("may take 10"));
        assert!(shelf.put(Role::Driver, &request(&id), u64::MAX).is_err());
        assert_eq!((files(&shelf), shelf.state().arriving), (0, 0));
        // There is space for one program. An unused program is removed for a new one, but not for one that can never
        // fit.
        put(&shelf, &id, b"a program").unwrap();
        for claimed in [11, u64::MAX - 9, u64::MAX - 8, u64::MAX] {
            assert!(shelf.put(Role::Driver, &request(&[1; 32]), claimed).err().unwrap().contains("may take 10"));
            assert!(shelf.ids().contains(&id));
        }
        let other = *blake3::hash(b"b").as_bytes();
        let used = Program { id, ..Program::default() };
        shelf.use_program(&used, &HostInfo::default());
        assert!(put(&shelf, &blake3::hash(b"bb").into(), b"bb").is_err());
        shelf.tidy(&BTreeSet::new());
        put(&shelf, &blake3::hash(b"bb").into(), b"bb").unwrap();
        assert!(!shelf.ids().contains(&id) && !shelf.ids().contains(&other));
    }

    #[test]
    fn an_uploaded_code_stays_while_a_job_needs_it_and_when_it_is_uploaded_again() {
        let (_directory, shelf) = shelf(100);
        let id = *blake3::hash(b"captured").as_bytes();
        assert!(!shelf.use_sent(id), "it was never uploaded");
        put(&shelf, &id, b"captured").unwrap();
        assert!(shelf.use_sent(id));
        shelf.tidy(&[id].into());
        assert_eq!(files(&shelf), 1);
        // The next job captures the same value. The hub does not know that job yet when this one ends.
        put(&shelf, &id, b"captured").unwrap();
        shelf.tidy(&BTreeSet::new());
        assert!(shelf.use_sent(id) && got(&shelf, &id).unwrap() == b"captured");
        shelf.tidy(&BTreeSet::new());
        assert!(files(&shelf) == 0 && got(&shelf, &id).is_err() && !shelf.use_sent(id));
    }

    #[test]
    fn only_hashes_are_names_and_each_role_has_its_own_rights() {
        let (_directory, shelf) = shelf(100);
        let id = *blake3::hash(b"x").as_bytes();
        assert!(shelf.get(Role::Driver, &request(&id)).is_err() && shelf.put(Role::Engine, &request(&id), 1).is_err());
        assert!(shelf.get(Role::Engine, b"../../etc/passwd").is_err());
        assert!(shelf.put(Role::Driver, &[request(&id), vec![0]].concat(), 1).is_err());
    }

    #[test]
    fn a_program_of_this_machine_is_copied_at_its_first_download() {
        let (directory, shelf) = shelf(0);
        let path = directory.path().join("program");
        fs::write(&path, b"mine").unwrap();
        let id = *blake3::hash(b"mine").as_bytes();
        let program = Program { id, path: path.display().to_string(), ..Program::default() };
        shelf.use_program(&program, &tryworks_protocol::host::here());
        assert_eq!(files(&shelf), 0);
        assert_eq!(got(&shelf, &id).unwrap(), b"mine");
        assert_eq!(files(&shelf), 2, "it and its seal");
        fs::write(&path, b"ours").unwrap();
        assert_eq!(got(&shelf, &id).unwrap(), b"mine", "the copy is older than the change");
    }

    #[test]
    fn a_given_file_of_this_machine_is_linked_at_its_first_download() {
        let (directory, shelf) = shelf(0);
        let path = directory.path().join("file");
        fs::write(&path, b"mine").unwrap();
        let id = *blake3::hash(b"mine").as_bytes();
        shelf.use_file(&GivenFile { id, path: path.display().to_string(), bytes: 4 }, true);
        assert_eq!(got(&shelf, &id).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
        assert_eq!(got(&shelf, &id).unwrap(), b"mine");
        shelf.tidy(&BTreeSet::new());
        assert_eq!(files(&shelf), 0);
    }
}
