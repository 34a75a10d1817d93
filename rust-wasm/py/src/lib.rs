//! The native door: one-line forwards to `edgeloop-core`, under the names of edgeloop/kernels.py, analysis.py and claims.py.
//!
//! The same Rust as in the .wasm, without its limits; tests/core/test_native.py holds the two equal.

use std::sync::{LazyLock, Mutex, PoisonError};

use edgeloop_core::analysis::{self, Entry, Role};
use edgeloop_core::count::{Counter, Pairs};
use edgeloop_core::diff::{self, Algorithm, Edit};
use edgeloop_core::merge::{Change, Claims as FileClaims, Clash, ClashKind, Labels, Style};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

static TABLE: &[u8] = include_bytes!("../../../src/hot/o200k.bin");
static COUNTER: LazyLock<Option<Mutex<Counter>>> =
    LazyLock::new(|| Pairs::new(TABLE).ok().map(|pairs| Mutex::new(Counter::new(pairs))));

/// A panic in a count leaves nothing half done but a cache entry, so a poisoned lock is as good as new.
fn counting<T>(f: impl FnOnce(&mut Counter) -> T) -> PyResult<T> {
    let counter =
        COUNTER.as_ref().ok_or_else(|| PyValueError::new_err("the built-in token table is broken"))?;
    Ok(f(&mut counter.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn algorithm(name: &str) -> PyResult<Algorithm> {
    match name {
        "histogram" => Ok(Algorithm::Histogram),
        "myers" => Ok(Algorithm::Myers),
        _ => Err(PyValueError::new_err(format!("algorithm {name:?} is neither histogram nor myers"))),
    }
}

fn style(name: &str) -> PyResult<Style> {
    match name {
        "merge" => Ok(Style::Merge),
        "diff3" => Ok(Style::Diff3),
        "zdiff3" => Ok(Style::Zdiff3),
        _ => Err(PyValueError::new_err(format!("style {name:?} is none of merge, diff3, zdiff3"))),
    }
}

/// A block as frames: role, name, tool, path, command, data.
type Frames = (u8, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

fn entry((role, name, tool, path, command, data): &Frames) -> PyResult<Entry<'_>> {
    let role = match role {
        0 => Role::Text,
        1 => Role::Call,
        2 => Role::Result,
        _ => return Err(PyValueError::new_err(format!("role {role} is none of 0 text, 1 call, 2 result"))),
    };
    Ok(Entry { role, name, tool, path, command, data })
}

fn change(sort: u32, start: u32, end: u32, hash: u64) -> PyResult<Change> {
    match sort {
        0 if start <= end => Ok(Change::Lines { start, end, content: hash }),
        1 => Ok(Change::Delete),
        2 => Ok(Change::Create { content: hash }),
        3 => Ok(Change::Rename { path: hash }),
        _ => Err(PyValueError::new_err(format!("change {sort} of lines {start} to {end} is none"))),
    }
}

/// Edgeloop's kernels, natively.
#[pymodule]
mod edgeloop_native {
    use super::*;

    /// Count o200k_base tokens of UTF-8 text.
    #[pyfunction]
    fn count_tokens(text: &[u8]) -> PyResult<u32> {
        counting(|counter| counter.count(text))
    }

    /// The same for many texts.
    #[pyfunction]
    fn count_batch(texts: Vec<Vec<u8>>) -> PyResult<Vec<u32>> {
        counting(|counter| texts.iter().map(|text| counter.count(text)).collect())
    }

    /// The longest prefix of whole pieces within `limit` tokens: its length in bytes and its tokens.
    #[pyfunction]
    fn count_prefix(text: &str, limit: u32) -> PyResult<(usize, u32)> {
        counting(|counter| counter.prefix_within(text, limit))
    }

    /// The hunks of a unified diff.
    #[pyfunction]
    #[pyo3(signature = (before, after, *, context = 3, algorithm = "histogram"))]
    fn diff_unified(before: &[u8], after: &[u8], context: usize, algorithm: &str) -> PyResult<Vec<u8>> {
        Ok(diff::unified(&diff::compare(before, after, super::algorithm(algorithm)?), context))
    }

    /// Edits that lead from one text to the other: search and replacement.
    #[pyfunction]
    fn diff_edits(before: &[u8], after: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let edits = diff::blocks(before, &diff::compare(before, after, Algorithm::Histogram));
        edits.into_iter().map(|edit| (edit.search, edit.replace)).collect()
    }

    /// Words changed: bytes from and to in the first text, from and to in the second.
    #[pyfunction]
    fn diff_words(before: &[u8], after: &[u8]) -> Vec<(usize, usize, usize, usize)> {
        let ends = |s: diff::Span| (s.before.start, s.before.end, s.after.start, s.after.end);
        diff::words(before, after).into_iter().map(ends).collect()
    }

    /// Apply edits, all or none.
    #[pyfunction]
    fn apply_edits(text: &[u8], edits: Vec<(Vec<u8>, Vec<u8>)>) -> PyResult<Vec<u8>> {
        let edits: Vec<Edit> = edits.into_iter().map(|(search, replace)| Edit { search, replace }).collect();
        diff::apply_edits(text, &edits).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Apply a unified diff of one file, whole or not at all.
    #[pyfunction]
    fn apply_patch(text: &[u8], patch: &[u8]) -> PyResult<Vec<u8>> {
        diff::apply_unified(text, patch).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Merge two texts that came from `base`: the text and the number of conflicts; `labels` in the texts' order.
    #[pyfunction]
    #[pyo3(signature = (base, ours, theirs, *, style = "merge", algorithm = "histogram", labels = ("base", "ours", "theirs")))]
    fn merge(
        base: &[u8],
        ours: &[u8],
        theirs: &[u8],
        style: &str,
        algorithm: &str,
        labels: (&str, &str, &str),
    ) -> PyResult<(Vec<u8>, usize)> {
        let labels = Labels { base: labels.0, ours: labels.1, theirs: labels.2 };
        let (algorithm, style) = (super::algorithm(algorithm)?, super::style(style)?);
        let merged = edgeloop_core::merge::merge(base, ours, theirs, algorithm, style, labels);
        Ok((merged.text, merged.conflicts))
    }

    /// The lines that a template's replacement stands for, which are `length` bytes.
    #[pyfunction]
    fn analysis_unfold(text: &[u8], length: usize) -> PyResult<Vec<u8>> {
        analysis::templates::unfold(text, length)
            .ok_or_else(|| PyValueError::new_err("no replacement of that length"))
    }

    /// The memory of one conversation.
    #[pyclass]
    struct Analysis(analysis::Analysis);

    #[pymethods]
    impl Analysis {
        #[new]
        fn new(limit: usize) -> Self {
            Self(analysis::Analysis::new(limit))
        }

        /// Judge blocks, one after the other: their packed plans.
        fn enter(&mut self, blocks: Vec<Frames>) -> PyResult<Vec<u8>> {
            let entries = blocks.iter().map(entry).collect::<PyResult<Vec<_>>>()?;
            counting(|counter| {
                let mut out = Vec::new();
                entries.iter().for_each(|entry| self.0.enter(counter, entry).write(&mut out));
                out
            })
        }
    }

    /// The changes to one file since one base version.
    #[pyclass]
    #[derive(Default)]
    struct Claims(FileClaims);

    #[pymethods]
    impl Claims {
        #[new]
        fn new() -> Self {
            Self::default()
        }

        /// Record a change: the earlier writers that it clashes with, the kind (0 lines, 1 deleted, 2 created, 3 renamed,
        /// 4 moved), and the lines of both.
        fn add(
            &mut self,
            writer: u32,
            sort: u32,
            start: u32,
            end: u32,
            hash: u64,
        ) -> PyResult<Vec<(u32, u32, u32, u32)>> {
            let clash = |clash: Clash| match clash.kind {
                ClashKind::Lines { start, end } => (clash.first, 0, start, end),
                ClashKind::Deleted => (clash.first, 1, 0, 0),
                ClashKind::Created => (clash.first, 2, 0, 0),
                ClashKind::Renamed => (clash.first, 3, 0, 0),
                ClashKind::Moved => (clash.first, 4, 0, 0),
            };
            Ok(self.0.add(writer, change(sort, start, end, hash)?).into_iter().map(clash).collect())
        }

        /// Forget a writer's changes.
        fn remove(&mut self, writer: u32) {
            self.0.remove(writer);
        }
    }
}
