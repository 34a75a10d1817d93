//! Compression analysis: one index per session, one plan per block.

use std::cell::RefCell;

use edgeloop_core::fold::{Block, Index, Plan, Role, Template, expand, lines_of_one_shape};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{with_input, write_output};
use crate::count::with_counter;
use crate::frames::{fixed, numbers};
use crate::handles::Handles;

const MISUSE: u32 = u32::MAX;

thread_local! {
    static INDEXES: RefCell<Handles<Index>> = const { RefCell::new(Handles::new()) };
}

/// Start an index; returns its handle.
#[wasm_bindgen]
pub fn fold_new(_len: u32) -> u32 {
    INDEXES.with_borrow_mut(|indexes| indexes.insert(Index::default()))
}

/// Forget an index.
#[wasm_bindgen]
pub fn fold_free(handle: u32, _len: u32) -> u32 {
    INDEXES.with_borrow_mut(|indexes| indexes.remove(handle));
    0
}

/// Judge a block: frames key, text. `written`: 0 shown, 1 written. `reference`: tokens that a reference costs.
/// `templating`: 0 no, 1 yes.
///
/// Leaves the plan as numbers: the block it duplicates plus one, or 0; the near block plus one, or 0, and the
/// likeness; how many are superseded, and their ids; how many runs, and for each its bytes from and to, the block,
/// the bytes there from and to; how many templates, and for each its bytes from and to and its text's length; then
/// the templates' texts.
#[wasm_bindgen]
pub fn fold_add(handle: u32, id: u32, written: u32, reference: u32, templating: u32, len: u32) -> u32 {
    with_counter(|counter| {
        INDEXES.with_borrow_mut(|indexes| {
            with_input(len, |input| {
                let (Some(index), Some([key, text])) = (indexes.get(handle), fixed(input)) else {
                    return MISUSE;
                };
                let role = if written == 0 { Role::Shown } else { Role::Written };
                let plan = index.add(Block { id, role, key, text }, counter, reference, templating != 0);
                write_output(|out| write_plan(out, &plan))
            })
        })
    })
}

/// The templates of a text alone, whether or not they save tokens: their number, for each its bytes from and to and
/// its text's length, then the texts.
#[wasm_bindgen]
pub fn fold_templates(len: u32) -> u32 {
    let found = with_input(len, lines_of_one_shape);
    write_output(|out| write_templates(out, &found))
}

/// Undo the templates of a text; nothing where one is broken.
#[wasm_bindgen]
pub fn fold_expand(len: u32) -> u32 {
    let expanded = with_input(len, expand);
    expanded.map_or(MISUSE, |text| write_output(|out| *out = text))
}

fn write_plan(out: &mut Vec<u8>, plan: &Plan) {
    let named = |id: Option<u32>| id.map_or(0, |id| id as usize + 1);
    let (near, likeness) = plan.near.map_or((None, 0), |(id, likeness)| (Some(id), likeness as usize));
    numbers(out, [named(plan.duplicate_of), named(near), likeness, plan.superseded.len()]);
    numbers(out, plan.superseded.iter().map(|&id| id as usize));
    numbers(out, [plan.runs.len()]);
    for run in &plan.runs {
        numbers(out, [run.bytes.start, run.bytes.end, run.of as usize, run.of_bytes.start, run.of_bytes.end]);
    }
    write_templates(out, &plan.templates);
}

fn write_templates(out: &mut Vec<u8>, templates: &[Template]) {
    numbers(out, [templates.len()]);
    for template in templates {
        numbers(out, [template.bytes.start, template.bytes.end, template.text.len()]);
    }
    out.extend(templates.iter().flat_map(|template| &template.text));
}
