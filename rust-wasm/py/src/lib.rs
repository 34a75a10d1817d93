//! The native door: one-line forwards to `edgeloop-core`, under the names of edgeloop/kernels.py.
//!
//! The same Rust as in the .wasm, without its limits; tests/core/test_native.py holds the two equal.

use std::sync::{LazyLock, Mutex, PoisonError};

use edgeloop_core::count::{Counter, Pairs};
use edgeloop_core::diff::{self, Algorithm};
use edgeloop_core::merge::{Labels, Style};
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
}
