//! Commands take turns: of each door only so many run at once, and what hangs delays neither the closing nor another
//! door.

use std::collections::{HashMap, VecDeque};

use super::{GrantId, Job, JobId};
use crate::config::DoorKey;

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It opens nothing that is to be closed.
    Once,
    Start(GrantId),
    Stop(GrantId),
}

/// Whose turn is waited for: a door's start commands, or its stop commands.
type Turn = (DoorKey, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Start,
    Stop,
}

fn turn(door: &DoorKey, purpose: Purpose) -> Turn {
    let kind = match purpose {
        Purpose::Once | Purpose::Start(_) => Kind::Start,
        Purpose::Stop(_) => Kind::Stop,
    };
    (door.clone(), kind)
}

/// The commands that run and those that wait.
pub(super) struct Turns {
    running: HashMap<JobId, (Turn, Purpose)>,
    queues: HashMap<Turn, Queue>,
    max_running: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Job, Purpose)>,
    running: usize,
}

impl Turns {
    pub(super) fn new(max_running: usize) -> Self {
        Self { running: HashMap::new(), queues: HashMap::new(), max_running }
    }

    /// How many start commands of a door wait.
    pub(super) fn waiting(&self, door: &DoorKey) -> usize {
        self.queues.get(&turn(door, Purpose::Once)).map_or(0, |queue| queue.waiting.len())
    }

    /// Lines a command up; what is to run now.
    pub(super) fn join(&mut self, job: Job, purpose: Purpose) -> Vec<Job> {
        let turn = turn(&job.door, purpose);
        self.queues.entry(turn.clone()).or_default().waiting.push_back((job, purpose));
        self.next(&turn)
    }

    /// A command has ended: what it was for, and what is to run now. The latter is to be looked after last.
    pub(super) fn leave(&mut self, job: JobId) -> Option<(Purpose, Place)> {
        let (turn, purpose) = self.running.remove(&job)?;
        if let Some(queue) = self.queues.get_mut(&turn) {
            queue.running -= 1;
        }
        Some((purpose, Place(turn)))
    }

    /// What is to run in the place of a command that has ended.
    pub(super) fn fill(&mut self, Place(turn): Place) -> Vec<Job> {
        self.next(&turn)
    }

    /// Gives up all start commands that still wait.
    pub(super) fn give_up_starts(&mut self) -> Vec<Purpose> {
        let starts = self.queues.iter_mut().filter(|((_, kind), _)| *kind == Kind::Start);
        starts.flat_map(|(_, queue)| std::mem::take(&mut queue.waiting)).map(|(_, purpose)| purpose).collect()
    }

    fn next(&mut self, turn: &Turn) -> Vec<Job> {
        let mut jobs = Vec::new();
        let Some(queue) = self.queues.get_mut(turn) else { return jobs };
        while queue.running < self.max_running
            && let Some((job, purpose)) = queue.waiting.pop_front()
        {
            queue.running += 1;
            self.running.insert(job.id, (turn.clone(), purpose));
            jobs.push(job);
        }
        if queue.running == 0 {
            self.queues.remove(turn);
        }
        jobs
    }
}

/// Where a command ran that has ended.
pub(super) struct Place(Turn);
