//! Compression analysis: what of a conversation says again what it has said before.
//!
//! Each block is judged once, when it enters, against a bounded memory of what came before it: O(new bytes),
//! however long the conversation. The judgement is a `Plan` that never changes: folds in the new block, each
//! resolvable to the bytes it replaces, and earlier results that have become superfluous. Nothing is rewritten
//! here: whoever holds the prompt decides which plans to carry out, and when. A plan may be left undone; what is
//! carried out is carried out in the order of the plans.
//!
//! Two directions: of equal bytes the earliest stay, so that the frozen beginning need not change; of results on
//! one subject the latest stays, because it is true. `store` sees to it that never both rules take the same bytes.

mod bytes;
mod index;
mod near;
mod plan;
mod runs;
mod store;
pub mod templates;

use std::ops::Range;

use index::Index;
use near::Bands;
pub use near::{Signature, likeness, signature};
pub use plan::{Fold, Kind, Near, Plan};
use runs::Run;
use store::Store;

use crate::count::Counter;

/// Memory that an analysis may fill with texts, unless told: more than a context of a million tokens.
pub const LIMIT: usize = 6 << 20;

/// A fold must save this many tokens: less is not worth the reader's trouble, and where white space stands on both
/// sides of its ends, the tokens there may join otherwise and cost one or two more.
const WORTH: u32 = 16;
/// Smaller blocks are neither folded nor looked for.
const SMALLEST: usize = 80;
/// Shorter texts have too few words for an estimate.
const SKETCHED: usize = 512;
/// Thousandths from which two texts are told to be near.
const NEAR: u32 = 600;
/// Longer subjects are no subjects: they would fill the memory.
const LONGEST_SUBJECT: usize = 4096;
const LONGEST_NAME: usize = 64;
/// Positions are 32 bits; before they run out, everything is forgotten. A longer block is taken for an empty one.
const FAR: u32 = 1 << 31;

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Said by a person or a model.
    Text,
    /// What a call writes to its path.
    Call,
    /// What a call gave back. Only results are made stale by later ones and have their lines put in shapes.
    Result,
}

/// A block as it enters.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub role: Role,
    /// What stubs call this block: 1 to 64 bytes of ASCII without spaces and brackets; any other is replaced by its number.
    pub name: &'a [u8],
    pub tool: &'a [u8],
    /// The file that it is about; empty for none.
    pub path: &'a [u8],
    /// The command, or whatever else tells two calls of this tool apart; results that agree in tool, path and command
    /// are about the same thing, and the later one is right.
    pub command: &'a [u8],
    pub data: &'a [u8],
}

impl Entry<'_> {
    fn shown_name(&self, id: u32) -> Vec<u8> {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"[]".contains(byte);
        let fits = (1..=LONGEST_NAME).contains(&self.name.len()) && self.name.iter().all(plain);
        if fits { self.name.to_vec() } else { format!("#{id}").into_bytes() }
    }

    fn written_path(&self) -> Vec<u8> {
        let known = self.role == Role::Call && self.path.len() <= LONGEST_SUBJECT;
        if known { self.path.to_vec() } else { Vec::new() }
    }

    fn subject(&self) -> Vec<u8> {
        let parts = [self.tool, self.path, self.command];
        let length: usize = parts.iter().map(|part| part.len() + 4).sum();
        if self.role != Role::Result || parts[1..].concat().is_empty() || length > LONGEST_SUBJECT {
            return Vec::new();
        }
        parts.iter().flat_map(|part| [&(part.len() as u32).to_le_bytes()[..], part].concat()).collect()
    }
}

/// The memory of one conversation.
#[derive(Debug)]
pub struct Analysis {
    store: Store,
    lines: Index,
    bands: Bands,
    limit: usize,
}

impl Default for Analysis {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Analysis {
    /// Remember up to `limit` bytes of texts; what is older is forgotten first, and never referred to again.
    pub fn new(limit: usize) -> Self {
        Self { store: Store::new(limit, 0), lines: Index::new(), bands: Bands::default(), limit }
    }

    /// Judge a block and remember it.
    pub fn enter(&mut self, counter: &mut Counter, entry: &Entry<'_>) -> Plan {
        let data = if entry.data.len() < FAR as usize { entry.data } else { &[] };
        let entry = &Entry { data, ..*entry };
        if self.store.end() > FAR {
            let next = self.store.next();
            *self = Self { store: Store::new(self.limit, next), ..Self::new(self.limit) };
        }
        let block = self.store.push(entry);
        let mut folds = self.whole(counter, block, entry);
        let mut near = None;
        if folds.is_empty() {
            folds = self.copies(counter, block, entry);
            if entry.role == Role::Result {
                folds = with_templates(counter, block, entry.data, folds);
                near = self.near(block, entry.data);
            }
        }
        let sources = folds.iter().filter(|fold| fold.kind != Kind::Template).map(|fold| fold.source);
        self.store.refer(block, sources.collect());
        let superseded = self.store.supersede(block);
        self.store.trim();
        Plan { block, folds, superseded, near }
    }

    /// The fold of a block that is an earlier one again.
    fn whole(&mut self, counter: &mut Counter, block: u32, entry: &Entry<'_>) -> Vec<Fold> {
        if entry.data.len() < SMALLEST {
            return Vec::new();
        }
        let Some(source) = self.store.same_as(block) else { return Vec::new() };
        let Some(earlier) = self.store.get_mut(source) else { return Vec::new() };
        let before = *earlier.tokens.get_or_insert_with(|| counter.count(entry.data));
        let mut replacement = [b"[same as ", &earlier.name[..], b"]"].concat();
        if entry.data.ends_with(b"\n") {
            replacement.push(b'\n');
        }
        let kind = kind(&earlier.wrote, entry);
        let fold = Fold {
            kind,
            start: 0,
            end: entry.data.len() as u32,
            source,
            from: 0,
            tokens: [before, counter.count(&replacement)],
            replacement,
        };
        worth(fold).into_iter().collect()
    }

    fn copies(&mut self, counter: &mut Counter, block: u32, entry: &Entry<'_>) -> Vec<Fold> {
        let mut folds = Vec::new();
        let store = &self.store;
        runs::find(store, &mut self.lines, block, |run| {
            folds.extend(copy(store, counter, block, entry, run).and_then(worth));
        });
        folds
    }

    fn near(&mut self, block: u32, data: &[u8]) -> Option<Near> {
        if data.len() < SKETCHED {
            return None;
        }
        let sketch = Box::new(signature(data)?);
        let met = self.bands.meet(block, &sketch);
        let likenesses = met.into_iter().filter_map(|earlier| {
            let other = self.store.get(earlier)?.signature.as_deref()?;
            Some(Near { block: earlier, likeness: likeness(other, &sketch) })
        });
        // Of equally like ones the latest.
        let best =
            likenesses.max_by_key(|near| (near.likeness, near.block)).filter(|near| near.likeness >= NEAR);
        if let Some(block) = self.store.get_mut(block) {
            block.signature = Some(sketch);
        }
        best
    }
}

fn kind(wrote: &[u8], entry: &Entry<'_>) -> Kind {
    let echo = entry.role == Role::Result && !entry.path.is_empty() && wrote == entry.path;
    if echo { Kind::Echo } else { Kind::Copy }
}

fn worth(fold: Fold) -> Option<Fold> {
    let [before, after] = fold.tokens;
    (before >= after + WORTH).then_some(fold)
}

fn copy(store: &Store, counter: &mut Counter, block: u32, entry: &Entry<'_>, run: &Run) -> Option<Fold> {
    let (mine, source) = (store.get(block)?, store.get(run.source)?);
    let text = store.text(run.range.clone());
    let replacement =
        reference(run, (run.source != block).then_some(&source.name[..]), text.ends_with(b"\n"));
    Some(Fold {
        kind: kind(&source.wrote, entry),
        start: run.range.start - mine.range.start,
        end: run.range.end - mine.range.start,
        source: run.source,
        from: run.from - source.range.start,
        tokens: [counter.count(text), counter.count(&replacement)],
        replacement,
    })
}

fn reference(run: &Run, name: Option<&[u8]>, newline: bool) -> Vec<u8> {
    let Range { start, end } = run.lines;
    let mut text = match end - start {
        1 => format!("[line {start}"),
        _ => format!("[lines {start}-{}", end - 1),
    }
    .into_bytes();
    if let Some(name) = name {
        text.extend_from_slice(b" of ");
        text.extend_from_slice(name);
    }
    text.extend_from_slice(if newline { b" again]\n" } else { b" again]" });
    text
}

/// Add the shapes of lines that stand between the folds.
fn with_templates(counter: &mut Counter, block: u32, data: &[u8], copies: Vec<Fold>) -> Vec<Fold> {
    let mut folds = Vec::new();
    let mut at = 0;
    for copy in copies {
        add_templates(counter, block, data, at..copy.start as usize, &mut folds);
        at = copy.end as usize;
        folds.push(copy);
    }
    add_templates(counter, block, data, at..data.len(), &mut folds);
    folds
}

fn add_templates(counter: &mut Counter, block: u32, data: &[u8], gap: Range<usize>, folds: &mut Vec<Fold>) {
    templates::fold(&data[gap.clone()], |range, replacement| {
        // A shape is harder to read than lines: it must take a quarter of them off.
        if replacement.len() * 4 > range.len() * 3 {
            return;
        }
        let (start, end) = (gap.start + range.start, gap.start + range.end);
        folds.extend(worth(Fold {
            kind: Kind::Template,
            start: start as u32,
            end: end as u32,
            source: block,
            from: start as u32,
            tokens: [counter.count(&data[start..end]), counter.count(&replacement)],
            replacement,
        }));
    });
}
