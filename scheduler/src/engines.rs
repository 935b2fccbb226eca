//! The engines: how many more tasks each may take, and which is next in turn.

use super::{
    Time,
    event::Gate,
    partitions::Bits,
    slab::{Slab, StageKey},
    waiting::Waiting,
};
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId};

#[derive(Debug)]
pub(super) struct Engine {
    pub id: EngineId,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many launches it may have at once: its slots, and the tasks that it may hold in advance.
    pub capacity: u32,
    pub gate: Gate,
    /// It takes nothing new until it is idle, because a task has to run alone there.
    pub reserved: bool,
    /// It runs a task that must run alone.
    pub occupied: bool,
    pub running: Vec<AttemptId>,
    /// The last tasks that failed here, each one once.
    pub faults: Vec<(Time, StageKey, u32)>,
    /// It gets no tasks until then, because of tasks that failed here.
    pub excluded: Option<Time>,
    /// The dispatch that last launched here, and the position of that launch among the actions.
    pub batch: (u64, usize),
}

impl Engine {
    pub fn takes_tasks(&self) -> bool {
        self.gate == Gate::Open && self.excluded.is_none()
    }
}

#[derive(Debug, Default)]
pub(super) struct Engines {
    rows: Slab<Engine>,
    by_id: BTreeMap<EngineId, u32>,
    /// Engines that can take one more task.
    free: Bits,
    /// Engines among `free` that would begin it at once.
    slots: Bits,
    /// Engines among `slots` that run nothing.
    idle: Bits,
    /// Engines that take tasks.
    open: Bits,
    /// How many engines take tasks, now or soon.
    able: u32,
    excluded: BTreeSet<(Time, u32)>,
    reserved: BTreeSet<u32>,
    turn: u32,
}

impl Engines {
    /// Adds an engine; true if it was new.
    pub fn join(&mut self, id: EngineId, slots: u32, prefetch: u32) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        let row = self.rows.insert(Engine {
            id,
            slots,
            capacity: slots.saturating_add(prefetch),
            gate: Gate::Open,
            reserved: false,
            occupied: false,
            running: Vec::new(),
            faults: Vec::new(),
            excluded: None,
            batch: (0, 0),
        });
        self.by_id.insert(id, row);
        self.able += 1;
        self.settle(row);
        true
    }

    /// Removes an engine and its row.
    pub fn leave(&mut self, id: EngineId) -> Option<(u32, Engine)> {
        let row = self.by_id.remove(&id)?;
        for list in [&mut self.free, &mut self.slots, &mut self.idle, &mut self.open] {
            list.remove(row);
        }
        self.reserved.remove(&row);
        let engine = self.rows.remove(row)?;
        self.able -= u32::from(engine.gate.is_able());
        if let Some(until) = engine.excluded {
            self.excluded.remove(&(until, row));
        }
        Some((row, engine))
    }

    /// Sets how many tasks an engine may hold beyond its slots.
    pub fn set_prefetch(&mut self, id: EngineId, prefetch: u32) {
        let Some(&row) = self.by_id.get(&id) else { return };
        if let Some(engine) = self.rows.get_mut(row) {
            engine.capacity = engine.slots.saturating_add(prefetch);
            self.settle(row);
        }
    }

    /// Sets the gate, and returns the one before.
    pub fn set_gate(&mut self, row: u32, gate: Gate) -> Option<Gate> {
        let engine = self.rows.get_mut(row)?;
        let before = std::mem::replace(&mut engine.gate, gate);
        self.able = self.able + u32::from(gate.is_able()) - u32::from(before.is_able());
        // An engine that takes nothing cannot be kept free for a task either.
        let reserved = engine.reserved && gate == Gate::Open;
        self.set_reserved(row, reserved);
        Some(before)
    }

    /// Excludes an engine until then, or ends its exclusion.
    pub fn exclude(&mut self, row: u32, until: Option<Time>) {
        let Some(engine) = self.rows.get_mut(row) else { return };
        if let Some(before) = std::mem::replace(&mut engine.excluded, until) {
            self.excluded.remove(&(before, row));
        }
        self.excluded.extend(until.map(|until| (until, row)));
        // An engine that takes nothing cannot be kept free for a task either.
        let reserved = engine.reserved && until.is_none();
        self.set_reserved(row, reserved);
    }

    /// The engine whose exclusion ends first.
    pub fn first_excluded(&self) -> Option<(Time, u32)> {
        self.excluded.first().copied()
    }

    /// Whether some engine takes tasks, now or soon.
    pub fn any_able(&self) -> bool {
        self.able > 0
    }

    pub fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// An engine that takes tasks now, busy or not: each one in turn.
    pub fn next_open(&mut self) -> Option<EngineId> {
        let row = self.in_turn(&self.open, &[])?;
        self.turn = row + 1;
        self.rows.get(row).map(|engine| engine.id)
    }

    pub fn get(&self, row: u32) -> Option<&Engine> {
        self.rows.get(row)
    }

    pub fn get_mut(&mut self, row: u32) -> Option<&mut Engine> {
        self.rows.get_mut(row)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Engine> {
        self.rows.iter().map(|(_, engine)| engine)
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn started(&mut self, row: u32, attempt: AttemptId, alone: bool) {
        if let Some(engine) = self.rows.get_mut(row) {
            engine.running.push(attempt);
            engine.occupied |= alone;
        }
        self.settle(row);
    }

    pub fn ended(&mut self, row: u32, attempt: AttemptId) {
        if let Some(engine) = self.rows.get_mut(row)
            && let Some(at) = engine.running.iter().position(|&running| running == attempt)
        {
            engine.running.swap_remove(at);
            engine.occupied &= !engine.running.is_empty();
        }
        self.settle(row);
    }

    /// The next engine in turn for the next of `waiting` tasks: an idle one first, then one with a free slot, then one
    /// that may hold it in advance. The fewer tasks wait, the fewer are held in advance: at the end, a task held by one
    /// engine is out of reach for another that is free (guided self-scheduling, Polychronopoulos and Kuck 1987). No
    /// engine of `not` is taken.
    pub fn pick(&mut self, waiting: u32, not: &[EngineId]) -> Option<u32> {
        let at_once = self.in_turn(&self.idle, not).or_else(|| self.in_turn(&self.slots, not));
        let share = (waiting / self.able.saturating_mul(2).max(1)).max(1);
        let mut from = self.turn;
        let in_advance = || {
            // They are about equally full, so it is enough to look at a few.
            for _ in 0..4 + not.len() {
                let row = self.free.next_in_turn(from)?;
                let fits = |e: &Engine| (e.running.len() as u32) < e.slots + share && !not.contains(&e.id);
                if self.rows.get(row).is_some_and(fits) {
                    return Some(row);
                }
                from = row + 1;
            }
            None
        };
        let row = at_once.or_else(in_advance)?;
        self.turn = row + 1;
        Some(row)
    }

    /// The same for a task that failed on the engines to `avoid`: one of these only if no other engine takes tasks. An
    /// engine that is not in `not` must have free capacity.
    pub fn pick_other(&mut self, avoid: &[EngineId], not: &[EngineId]) -> Option<u32> {
        let both = [avoid, not].concat();
        let lists = [&self.idle, &self.slots, &self.free];
        let row = lists.into_iter().find_map(|list| self.in_turn(list, &both));
        let row = row.or_else(|| self.elsewhere(&both)).or_else(|| self.in_turn(&self.free, not))?;
        self.turn = row + 1;
        Some(row)
    }

    /// An engine that has no free capacity now, but will have, for a task that failed on others. It is better to retry
    /// there later than at once where the task failed.
    fn elsewhere(&self, avoid: &[EngineId]) -> Option<u32> {
        let row = if avoid.is_empty() { None } else { self.in_turn(&self.open, avoid) };
        row.filter(|row| self.rows.get(*row).is_some_and(|engine| !engine.reserved && !engine.occupied))
    }

    /// The next engine in turn that would begin a task at once, except those of `not`.
    pub fn pick_slot(&mut self, not: &[EngineId]) -> Option<u32> {
        let row = self.in_turn(&self.idle, not).or_else(|| self.in_turn(&self.slots, not))?;
        self.turn = row + 1;
        Some(row)
    }

    /// An engine that has what a waiting task reads: one with a free slot, or at least with free capacity.
    pub fn pick_local(&self, waiting: &Waiting, slot: bool) -> Option<u32> {
        waiting.local_one_of(if slot { &self.slots } else { &self.free }, self.turn)
    }

    pub fn has_capacity(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether an engine outside of `not` has free capacity.
    pub fn has_capacity_but(&self, not: &[EngineId]) -> bool {
        self.in_turn(&self.free, not).is_some()
    }

    /// The row of an engine that takes tasks, now or soon.
    pub fn able_row(&self, id: EngineId) -> Option<u32> {
        self.row_of(id).filter(|&row| self.rows.get(row).is_some_and(|engine| engine.gate.is_able()))
    }

    pub fn row_of(&self, id: EngineId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The row of this engine if it has free capacity.
    pub fn free_row(&self, id: EngineId) -> Option<u32> {
        self.row_of(id).filter(|&row| self.free.contains(row))
    }

    /// An idle engine for a task that must run alone; engines reserved for that come first. None of `not`, and
    /// one of `avoid` only if there is no other.
    pub fn pick_idle(&self, avoid: &[EngineId], not: &[EngineId]) -> Option<u32> {
        let both = [avoid, not].concat();
        let idle = |row: &u32, but: &[EngineId]| {
            self.rows.get(*row).is_some_and(|e| e.running.is_empty() && e.takes_tasks() && !but.contains(&e.id))
        };
        let fits = |row: &u32| idle(row, not);
        let liked = |row: &u32| idle(row, &both);
        let reserved = |test: &dyn Fn(&u32) -> bool| self.reserved.iter().copied().find(|row| test(row));
        reserved(&liked)
            .or_else(|| self.in_turn(&self.idle, &both))
            .or_else(|| reserved(&fits))
            .or_else(|| self.in_turn(&self.idle, not))
    }

    /// Reserves engines so that enough become idle for `tasks` that must run alone: at most every second engine, the
    /// least busy first, and none of `not`.
    pub fn reserve(&mut self, tasks: usize, not: &[EngineId]) {
        let enough = tasks.min(self.by_id.len().div_ceil(2));
        while self.reserved.len() < enough {
            let fits = |e: &Engine| e.takes_tasks() && !e.reserved && !e.occupied && !not.contains(&e.id);
            let open = self.rows.iter().filter(|(_, e)| fits(e));
            let Some(row) = open.min_by_key(|(row, e)| (e.running.len(), *row)).map(|(row, _)| row) else { return };
            self.set_reserved(row, true);
        }
    }

    /// Ends reservations until `tasks` are left.
    pub fn unreserve(&mut self, tasks: usize) {
        while self.reserved.len() > tasks
            && let Some(&row) = self.reserved.iter().next_back()
        {
            self.set_reserved(row, false);
        }
    }

    pub fn set_reserved(&mut self, row: u32, reserved: bool) {
        if let Some(engine) = self.rows.get_mut(row) {
            engine.reserved = reserved;
        }
        if reserved {
            self.reserved.insert(row);
        } else {
            self.reserved.remove(&row);
        }
        self.settle(row);
    }

    pub fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes()
            + self.iter().map(|engine| engine.running.capacity() * size_of::<AttemptId>()).sum::<usize>()
            + self.by_id.len() * size_of::<(EngineId, u32)>()
            + [&self.free, &self.slots, &self.idle, &self.open].map(Bits::heap_bytes).iter().sum::<usize>()
    }

    fn in_turn(&self, among: &Bits, avoid: &[EngineId]) -> Option<u32> {
        let mut from = self.turn;
        // Each engine to avoid comes up at most once before the first other engine.
        for _ in 0..=avoid.len() {
            let row = among.next_in_turn(from)?;
            if avoid.is_empty() || self.rows.get(row).is_some_and(|engine| !avoid.contains(&engine.id)) {
                return Some(row);
            }
            from = row + 1;
        }
        None
    }

    fn settle(&mut self, row: u32) {
        let Some(engine) = self.rows.get(row) else { return };
        let takes = engine.takes_tasks();
        let open = takes && !engine.reserved && !engine.occupied;
        let out = engine.running.len() as u32;
        for (list, is_in) in [
            (&mut self.free, open && out < engine.capacity),
            (&mut self.slots, open && out < engine.slots),
            (&mut self.idle, open && out == 0),
            (&mut self.open, takes),
        ] {
            if is_in {
                list.insert(row);
            } else {
                list.remove(row);
            }
        }
    }
}
