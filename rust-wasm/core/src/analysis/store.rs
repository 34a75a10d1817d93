//! The texts that later ones may refer to, and who refers to whom. Bounded: the oldest give way.
//!
//! Two rules fold text away: a copy gives way to the earlier text, a stale result to the later one. Both could fold
//! the same bytes, each trusting the other, so one ledger serves both: a block that live blocks refer to is pinned,
//! and a pinned block does not go, however stale. A block that has gone is never referred to again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::Entry;
use super::bytes::sample;
use super::near::Signature;
use crate::diff::equal;

/// What a block costs beside its bytes, about: itself, its sketch, its places in the two maps.
const OVERHEAD: usize = 1024;

#[derive(Debug)]
pub struct Block {
    /// Among all bytes ever entered.
    pub range: Range<u32>,
    sample: u64,
    /// What stubs call it.
    pub name: Vec<u8>,
    /// The path that this block wrote to.
    pub wrote: Vec<u8>,
    pub tokens: Option<u32>,
    pub signature: Option<Box<Signature>>,
    subject: Vec<u8>,
    sources: Vec<u32>,
    pins: u32,
    stale: bool,
    gone: bool,
}

#[derive(Debug)]
pub struct Store {
    text: Vec<u8>,
    /// Position of `text[0]`, and number of `blocks[0]`.
    base: u32,
    first: u32,
    blocks: VecDeque<Block>,
    whole: BTreeMap<u64, u32>,
    latest: BTreeMap<Vec<u8>, u32>,
    weight: usize,
    limit: usize,
}

impl Store {
    /// Keep texts of up to `limit` bytes; the next block is number `first`.
    pub fn new(limit: usize, first: u32) -> Self {
        Self {
            text: Vec::new(),
            base: 0,
            first,
            blocks: VecDeque::new(),
            whole: BTreeMap::new(),
            latest: BTreeMap::new(),
            weight: 0,
            limit,
        }
    }

    /// Take a block in; returns its number.
    pub fn push(&mut self, entry: &Entry<'_>) -> u32 {
        let id = self.next();
        let start = self.base + self.text.len() as u32;
        self.text.extend_from_slice(entry.data);
        let block = Block {
            range: start..start + entry.data.len() as u32,
            sample: sample(entry.data),
            name: entry.shown_name(id),
            wrote: entry.written_path(),
            tokens: None,
            signature: None,
            subject: entry.subject(),
            sources: Vec::new(),
            pins: 0,
            stale: false,
            gone: false,
        };
        self.weight += block.weight();
        self.blocks.push_back(block);
        id
    }

    /// Number that the next block gets.
    pub fn next(&self) -> u32 {
        self.first + self.blocks.len() as u32
    }

    /// Number of bytes ever entered; positions are below it.
    pub fn end(&self) -> u32 {
        self.base + self.text.len() as u32
    }

    pub fn text(&self, range: Range<u32>) -> &[u8] {
        &self.text[(range.start - self.base) as usize..(range.end - self.base) as usize]
    }

    pub fn get(&self, id: u32) -> Option<&Block> {
        self.blocks.get(id.checked_sub(self.first)? as usize).filter(|block| !block.gone)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Block> {
        self.blocks.get_mut(id.checked_sub(self.first)? as usize)
    }

    /// The live block that holds this position.
    pub fn holder(&self, at: u32) -> Option<(u32, &Block)> {
        let after = self.blocks.partition_point(|block| block.range.end <= at) as u32;
        Some((self.first + after, self.get(self.first + after)?))
    }

    /// Whether the byte at this position can be referred to.
    pub fn lives(&self, at: u32) -> bool {
        at >= self.base && self.holder(at).is_some()
    }

    /// Whether these bytes stand at `at`.
    pub fn stands(&self, bytes: &[u8], at: u32) -> bool {
        let text = &self.text[(at - self.base) as usize..];
        text.len() >= bytes.len() && equal(&text[..bytes.len()], bytes)
    }

    /// The earliest live block with the same bytes as this one; it is that, where there is none.
    pub fn same_as(&mut self, id: u32) -> Option<u32> {
        let block = self.get(id)?;
        let (key, range) = (block.sample, block.range.clone());
        let earlier = self.whole.get(&key).copied().filter(|&earlier| {
            self.get(earlier).is_some_and(|e| equal(self.text(e.range.clone()), self.text(range.clone())))
        });
        if earlier.is_none() {
            self.whole.insert(key, id);
        }
        earlier
    }

    /// Record which blocks a new one refers to.
    pub fn refer(&mut self, id: u32, mut sources: Vec<u32>) {
        sources.sort_unstable();
        sources.dedup();
        sources.retain(|&source| source != id);
        for &source in &sources {
            if let Some(block) = self.get_mut(source) {
                block.pins += 1;
            }
        }
        if let Some(block) = self.get_mut(id) {
            block.sources = sources;
        }
    }

    /// Record that this block is the latest on its subject; returns the blocks that go, referring ones first.
    pub fn supersede(&mut self, id: u32) -> Vec<u32> {
        let Some(subject) = self.get(id).map(|block| block.subject.clone()) else { return Vec::new() };
        if subject.is_empty() {
            return Vec::new();
        }
        let mut gone = Vec::new();
        let mut candidates: Vec<u32> = self.latest.insert(subject, id).into_iter().collect();
        if let Some(before) = candidates.first().and_then(|&before| self.get_mut(before)) {
            before.stale = true;
        }
        while let Some(candidate) = candidates.pop() {
            let Some(block) = self.get_mut(candidate) else { continue };
            if !block.stale || block.gone || block.pins > 0 {
                continue;
            }
            block.gone = true;
            gone.push(candidate);
            for source in std::mem::take(&mut block.sources) {
                if let Some(block) = self.get_mut(source) {
                    block.pins -= 1;
                    candidates.push(source);
                }
            }
        }
        gone
    }

    /// Forget the oldest blocks where there is more than the limit: down to three quarters of it, so that moving the
    /// rest costs each byte a few moves in its life.
    pub fn trim(&mut self) {
        if self.weight <= self.limit {
            return;
        }
        while self.weight > self.limit / 4 * 3 {
            let Some(block) = self.blocks.pop_front() else { break };
            self.weight -= block.weight();
            if self.whole.get(&block.sample) == Some(&self.first) {
                self.whole.remove(&block.sample);
            }
            if self.latest.get(&block.subject) == Some(&self.first) {
                self.latest.remove(&block.subject);
            }
            self.first += 1;
        }
        let start = self.blocks.front().map_or(self.end(), |block| block.range.start);
        self.text.drain(..(start - self.base) as usize);
        self.base = start;
        if self.text.capacity() > 2 * self.limit {
            self.text.shrink_to(self.limit);
        }
    }
}

impl Block {
    fn weight(&self) -> usize {
        OVERHEAD + self.range.len() + self.wrote.len() + 2 * self.subject.len()
    }
}
