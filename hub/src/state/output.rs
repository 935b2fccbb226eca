//! Output of tasks on its way to drivers. Each worker has little output under way, but there may be many hundred
//! engines. So the output under way is bounded, for each driver and for all drivers together. Output over a bound is
//! left out, and the driver learns where.

use std::collections::{BTreeMap, VecDeque};
use tryworks_base::ids::SessionId;
use tryworks_protocol::output::{Heard, Written};

/// How many bytes may be under way to one driver, and to all drivers.
const TO_ONE: usize = 64 << 20;
const TO_ALL: usize = 256 << 20;

/// The output that is under way.
#[derive(Default)]
pub(crate) struct UnderWay {
    sessions: BTreeMap<SessionId, ToDriver>,
    all: usize,
}

#[derive(Default)]
struct ToDriver {
    bytes: usize,
    /// For each output with something under way: where each piece ends, and how many bytes it counts.
    pieces: BTreeMap<(u64, bool), VecDeque<(u64, usize)>>,
    /// The outputs whose latest piece was left out. Each has an empty piece, whose offset is the end of what was left
    /// out.
    left_out: BTreeMap<(u64, bool), Written>,
}

impl UnderWay {
    /// Whether a piece may be sent to its driver now. If not, it is left out. Its worker then waits until the driver
    /// has acknowledged the gap.
    pub(crate) fn admit(&mut self, session: SessionId, written: &Written) -> bool {
        let of = self.sessions.entry(session).or_default();
        let (size, key) = (written.size(), (written.run, written.stderr));
        let end = written.heard().offset;
        if of.bytes + size > TO_ONE || self.all + size > TO_ALL {
            of.left_out.insert(key, Written { offset: end, bytes: Vec::new(), ..written.clone() });
            return false;
        }
        of.left_out.remove(&key);
        of.pieces.entry(key).or_default().push_back((end, size));
        of.bytes += size;
        self.all += size;
        true
    }

    /// A driver acknowledges output. Returns an empty piece for each output with a gap, once at most half of each bound
    /// is used. The driver sees the gap by the piece's offset.
    pub(crate) fn heard(&mut self, session: SessionId, heard: &Heard) -> Vec<Written> {
        let Some(of) = self.sessions.get_mut(&session) else { return Vec::new() };
        let key = (heard.run, heard.stderr);
        if let Some(pieces) = of.pieces.get_mut(&key) {
            while let Some((_, size)) = pieces.pop_front_if(|(end, _)| *end <= heard.offset) {
                of.bytes -= size;
                self.all -= size;
            }
            if pieces.is_empty() {
                of.pieces.remove(&key);
            }
        }
        match of.bytes <= TO_ONE / 2 && self.all <= TO_ALL / 2 {
            true => std::mem::take(&mut of.left_out).into_values().collect(),
            false => Vec::new(),
        }
    }

    /// Forgets the output under way to a driver whose connection ended.
    pub(crate) fn lost(&mut self, session: SessionId) {
        if let Some(of) = self.sessions.remove(&session) {
            self.all -= of.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tryworks_base::ids::EngineId;

    const PIECE: usize = 256 << 10;

    fn written(run: u32, offset: u64) -> Written {
        let (engine, name, bytes) = (EngineId(run), format!("e{run}"), vec![b'x'; PIECE]);
        Written { engine, name, run: run.into(), worker: 7, stderr: false, offset, attempt: None, bytes }
    }

    #[test]
    fn output_of_a_thousand_engines_stays_within_one_drivers_bound() {
        let mut under_way = UnderWay::default();
        let mut sent = Vec::new();
        for run in 0..1_000 {
            if under_way.admit(SessionId(1), &written(run, 0)) {
                sent.push(run);
            }
        }
        assert!(under_way.all <= TO_ONE && under_way.all > TO_ONE - 2 * PIECE, "{}", under_way.all);
        // Another driver still gets output.
        assert!(under_way.admit(SessionId(2), &written(2_000, 0)));
        // After the first driver has acknowledged half of what it got, it receives the empty pieces for the gaps.
        let mut told = Vec::new();
        for run in &sent {
            told.extend(under_way.heard(SessionId(1), &written(*run, 0).heard()));
        }
        assert_eq!(told.len() + sent.len(), 1_000);
        assert!(told.iter().all(|told| told.bytes.is_empty() && told.offset == PIECE as u64));
        // Then those workers may write again.
        assert!(told.iter().all(|told| under_way.admit(SessionId(1), told)));
        told.iter().for_each(|told| assert!(under_way.heard(SessionId(1), &told.heard()).is_empty()));
        under_way.heard(SessionId(2), &written(2_000, 0).heard());
        assert_eq!(under_way.all, 0);
    }

    #[test]
    fn a_later_piece_makes_the_notice_of_a_gap_unnecessary() {
        let mut under_way = UnderWay::default();
        let mut offset = 0;
        while under_way.admit(SessionId(1), &written(1, offset)) {
            offset += PIECE as u64;
        }
        let first = Heard { offset: PIECE as u64, ..written(1, 0).heard() };
        assert!(under_way.heard(SessionId(1), &first).is_empty());
        assert!(under_way.admit(SessionId(1), &written(1, offset + PIECE as u64)));
        let all = Heard { offset: u64::MAX, ..first };
        assert!(under_way.heard(SessionId(1), &all).is_empty());
        assert_eq!(under_way.all, 0);
    }

    #[test]
    fn output_to_all_drivers_is_bounded_and_lost_drivers_free_their_share() {
        let mut under_way = UnderWay::default();
        let fill = |under_way: &mut UnderWay, session: u32| {
            (0..).take_while(|run| under_way.admit(SessionId(session), &written(session * 1_000 + run, 0))).count()
        };
        let admitted: Vec<_> = (1..=5).map(|session| fill(&mut under_way, session)).collect();
        assert!(admitted[..4].iter().all(|count| *count == admitted[0]) && admitted[4] < 5, "{admitted:?}");
        assert!(under_way.all <= TO_ALL);
        under_way.lost(SessionId(1));
        assert_eq!(fill(&mut under_way, 6), admitted[0]);
    }
}
