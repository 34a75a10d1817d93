//! The index of what came before: blocks by content, runs of lines, latest by key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::signature::{Signature, Signatures};
use super::template::templates;
use super::{Block, Plan, Role, Run, gate};
use crate::count::Counter;
use crate::diff::line;

/// Runs are found by windows of so many lines: every one of a new block is looked up, every fourth of an old one is
/// kept.
const WINDOW: usize = 4;
/// Lines kept in all: 3 MB. Past that the oldest blocks are forgotten as targets.
const MOST_LINES: usize = 1 << 18;

/// Stands for a line that is a reference itself, and so is not there to be pointed to.
const ABSENT: u64 = 0;

/// Keys here are hashes already.
#[derive(Default)]
pub struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = line(bytes).1;
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Map<T> = HashMap<u64, T, BuildHasherDefault<Same>>;

/// An earlier block, as hashes.
struct Known {
    id: u32,
    /// May it be pointed to? Not once it is superseded or forgotten.
    alive: bool,
    /// Is it pointed to?
    pinned: bool,
    lines: Vec<u64>,
    /// Where each line starts, and the end.
    starts: Vec<u32>,
}

/// What a session's blocks were, in bounded memory.
#[derive(Default)]
pub struct Index {
    known: Vec<Known>,
    whole: Map<usize>,
    windows: Map<(usize, usize)>,
    /// Which windows may be in the table: most of a new block's are not, and asking here costs less.
    filter: Filter,
    latest: Map<Vec<usize>>,
    signatures: Signatures,
    lines: usize,
    /// The first block that is not forgotten.
    oldest: usize,
}

impl Index {
    /// Judge a block on its entry. A reference to an earlier block costs `reference` tokens in its place.
    /// With `templating`, lines of one shape become templates; for logs, not for files that are read to be edited.
    pub fn add(&mut self, block: Block<'_>, counter: &mut Counter, reference: u32, templating: bool) -> Plan {
        let (lines, starts) = split(block.text);
        let content = lines.iter().fold(lines.len() as u64, |hash, &line| mix(hash, line));
        let mut plan = Plan::default();
        if let Some(same) = self.same_content(content, &starts) {
            if counter.count(block.text) > reference {
                plan.duplicate_of = Some(self.known[same].id);
                self.known[same].pinned = true;
            }
            return plan;
        }
        plan.runs = self.runs(&lines, &starts);
        if templating {
            plan.templates = templates(block.text, &starts, &plan.runs);
        }
        gate(&mut plan, counter, block.text, reference);
        for run in &plan.runs {
            self.pin(run.of);
        }
        plan.superseded = self.supersede(block);
        let signature = Signature::new(&lines);
        let (known, here) = (&self.known, self.known.len());
        plan.near = self
            .signatures
            .nearest(&signature, |at| known[at].alive)
            .map(|(at, share)| (known[at].id, share));
        self.signatures.add(signature, here);
        self.keep(Known { id: block.id, alive: true, pinned: false, lines, starts }, content, &plan.runs);
        plan
    }

    fn same_content(&self, content: u64, starts: &[u32]) -> Option<usize> {
        let at = *self.whole.get(&content)?;
        (self.known[at].alive && self.known[at].starts == starts).then_some(at)
    }

    fn runs(&self, lines: &[u64], starts: &[u32]) -> Vec<Run> {
        let mut runs = Vec::new();
        let (mut at, mut done) = (0, 0);
        while at + WINDOW <= lines.len() {
            let window = window(&lines[at..at + WINDOW]);
            if !self.filter.may_hold(window) {
                at += 1;
                continue;
            }
            let target = self.windows.get(&window);
            let Some(&(block, line)) = target.filter(|&&(block, _)| self.known[block].alive) else {
                at += 1;
                continue;
            };
            let known = &self.known[block];
            let same = |(a, b): &(&u64, &u64)| a == b;
            let back =
                lines[done..at].iter().rev().zip(known.lines[..line].iter().rev()).take_while(same).count();
            let forth = lines[at..].iter().zip(&known.lines[line..]).take_while(same).count();
            if forth < WINDOW {
                at += 1;
                continue;
            }
            runs.push(Run {
                bytes: starts[at - back] as usize..starts[at + forth] as usize,
                of: known.id,
                of_bytes: known.starts[line - back] as usize..known.starts[line + forth] as usize,
            });
            at += forth;
            done = at;
        }
        runs
    }

    fn pin(&mut self, id: u32) {
        if let Ok(at) = self.known.binary_search_by_key(&id, |known| known.id) {
            self.known[at].pinned = true;
        }
    }

    fn supersede(&mut self, block: Block<'_>) -> Vec<u32> {
        if block.key.is_empty() {
            return Vec::new();
        }
        let shown = self.latest.entry(line_hash(block.key)).or_default();
        let mut superseded = Vec::new();
        shown.retain(|&at| {
            let known = &mut self.known[at];
            if known.pinned {
                return true;
            }
            known.alive = false;
            superseded.push(known.id);
            false
        });
        if block.role == Role::Shown {
            shown.push(self.known.len());
        }
        superseded
    }

    fn keep(&mut self, mut known: Known, content: u64, runs: &[Run]) {
        for run in runs {
            let line = |byte: usize| known.starts.partition_point(|&start| (start as usize) < byte);
            known.lines[line(run.bytes.start)..line(run.bytes.end)].fill(ABSENT);
        }
        let here = self.known.len();
        for at in (0..(known.lines.len() + 1).saturating_sub(WINDOW)).step_by(WINDOW) {
            if known.lines[at..at + WINDOW].contains(&ABSENT) {
                continue;
            }
            let window = window(&known.lines[at..at + WINDOW]);
            self.filter.add(window);
            let slot = self.windows.entry(window).or_insert((here, at));
            // The earliest copy is the one to point to, if it still may be.
            if !self.known.get(slot.0).is_none_or(|known| known.alive) {
                *slot = (here, at);
            }
        }
        self.whole.insert(content, here);
        self.lines += known.lines.len();
        self.known.push(known);
        while self.lines > MOST_LINES && self.oldest < here {
            let oldest = &mut self.known[self.oldest];
            oldest.alive = false;
            self.lines -= std::mem::take(&mut oldest.lines).len();
            oldest.starts = Vec::new();
            self.oldest += 1;
        }
        self.forget_windows();
    }

    /// Windows of dead blocks go when they would be most of the table: each is looked at a bounded number of times.
    fn forget_windows(&mut self) {
        if self.windows.len() > MOST_LINES / 2 {
            let known = &self.known;
            self.windows.retain(|_, &mut (block, _)| known[block].alive);
        }
    }
}

/// One bit for every window, by its hash: 16 KB.
struct Filter(Vec<u64>);

impl Default for Filter {
    fn default() -> Self {
        Self(vec![0; 1 << 11])
    }
}

impl Filter {
    fn may_hold(&self, hash: u64) -> bool {
        self.0[(hash >> 53) as usize] >> (hash >> 47 & 63) & 1 != 0
    }

    fn add(&mut self, hash: u64) {
        self.0[(hash >> 53) as usize] |= 1 << (hash >> 47 & 63);
    }
}

fn split(text: &[u8]) -> (Vec<u64>, Vec<u32>) {
    let mut lines = Vec::with_capacity(text.len() / 32);
    let mut starts = Vec::with_capacity(text.len() / 32 + 1);
    starts.push(0);
    let mut at = 0;
    while at < text.len() {
        let (length, hash) = line(&text[at..]);
        at += length;
        lines.push(hash);
        starts.push(at as u32);
    }
    (lines, starts)
}

fn line_hash(key: &[u8]) -> u64 {
    key.iter().fold(key.len() as u64, |hash, &byte| mix(hash, u64::from(byte)))
}

fn window(lines: &[u64]) -> u64 {
    lines.iter().fold(0, |hash, &line| mix(hash, line))
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
