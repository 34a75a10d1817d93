//! toktok-rs over a corpus (the number of documents, their lengths, their bytes; u32, little-endian).
//!
//! Prints the tokens and the best of some passes' seconds of processor time, for `bench/hot.py`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected the corpus file")?;
    let data = std::fs::read(path)?;
    let documents = edgeloop_checks::documents(&data).ok_or("not a corpus")?;
    let tokenizer = toktok::Tokenizer::builtin("o200k_base")?;
    let pass = || documents.iter().map(|text| tokenizer.count(text)).sum::<usize>();
    let tokens = pass();
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let started = processor_seconds()?;
        std::hint::black_box(pass());
        seconds = seconds.min(processor_seconds()? - started);
    }
    println!("{tokens} {seconds}");
    Ok(())
}

/// What this thread has run so far.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = stat.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}
