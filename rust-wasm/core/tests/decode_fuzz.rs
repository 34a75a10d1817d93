//! Streams as they are, cut anywhere, and mutated: the decoder never panics, always ends with exactly one last
//! operation, says only JSON, and says the same however the bytes are cut.
//!
//! `EDGELOOP_FUZZ_SECONDS` is how long each test may look for trouble (2 by default); `make fuzz` gives it minutes.
//! No crates: the harness is a random generator and a list of nasty pieces, so it needs nothing but the toolchain.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgeloop_core::decode::json::Tape;
use edgeloop_core::decode::out::Tag;
use edgeloop_core::decode::{Decoder, Dialect};

/// xorshift64*: fast, seedable, good enough to choose where to cut.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const PIECES: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\n\n",
    b"\r\n\r\n",
    b"data: ",
    b"data:",
    b"event: x\n",
    b": ping\n\n",
    b"[DONE]",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\\u0000",
    b"\xff",
    b"\xe2\x82",
    b"\xf0\x9f",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b":",
    b",",
    b"\"index\":",
    b"\"type\":",
    b"\"delta\":{",
    b"\"id\":\"\"",
    b"\"tool_calls\":[",
    b"\"arguments\":",
    b"\"finish_reason\":\"stop\"",
    b"\"error\":{",
    b"\"output_index\":9",
    b"\"thoughtSignature\":\"s\"",
    b"\"willContinue\":true",
    b"\"partialArgs\":[{\"jsonPath\":\"$.a[0]\",\"stringValue\":\"x\"}]",
    b"{\"type\":\"message_start\"}",
    b"{\"type\":\"message_stop\"}",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every stream at hand: the repository's own, and the recordings where they are.
fn corpus() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    collect(&root().join("tests/fixtures/streams"), &mut files);
    collect(&root().join("../shared/recordings"), &mut files);
    assert!(!files.is_empty(), "no streams in tests/fixtures/streams");
    files.sort();
    files.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_stream = path.extension().is_some_and(|end| end == "sse" || end == "txt");
        if path.is_dir() {
            collect(&path, files);
        } else if is_stream {
            files.push(path);
        }
    }
}

/// The operations with neighbouring deltas joined and pings left out.
type Said = Vec<(Tag, u32, String)>;

fn take(decoder: &mut Decoder, said: &mut Said) {
    decoder.take(|out| {
        let mut at = 0;
        for record in &out.records {
            let text = &out.text[at..at + record.bytes as usize];
            at += record.bytes as usize;
            assert_eq!(record.units as usize, text.encode_utf16().count());
            match said.last_mut() {
                _ if record.tag == Tag::Ping => {}
                Some((tag, block, known))
                    if *tag == record.tag && *block == record.block && is_live(record.tag) =>
                {
                    known.push_str(text);
                }
                _ => said.push((record.tag, record.block, text.to_owned())),
            }
        }
        assert_eq!(at, out.text.len());
    });
}

fn is_live(tag: Tag) -> bool {
    matches!(tag, Tag::Text | Tag::Reasoning | Tag::Args)
}

fn decode(dialect: Dialect, pieces: &[&[u8]]) -> Said {
    let mut decoder = Decoder::new(dialect, true);
    let mut said = Said::new();
    for piece in pieces {
        decoder.feed(piece);
        take(&mut decoder, &mut said);
    }
    decoder.finish();
    take(&mut decoder, &mut said);
    check(&decoder, &said);
    said
}

fn check(decoder: &Decoder, said: &Said) {
    let mut tape = Tape::default();
    for (tag, _, text) in said {
        let json = if is_live(*tag) { format!("\"{text}\"") } else { text.clone() };
        assert!(tape.parse(&json).is_ok(), "not JSON: {json}");
    }
    let ends = said.iter().filter(|(tag, _, _)| *tag == Tag::End).count();
    assert_eq!((ends, said.last().map(|(tag, _, _)| *tag)), (1, Some(Tag::End)));
    for open_only in [false, true] {
        assert!(tape.parse(&decoder.partial(open_only)).is_ok());
    }
}

fn cut<'s>(stream: &'s [u8], random: &mut Random) -> Vec<&'s [u8]> {
    let mut rest = stream;
    let mut pieces = Vec::new();
    let most = if random.below(2) == 0 { 8 } else { stream.len() };
    let longest = 1 + random.below(most);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(random.below(longest.min(rest.len())).max(1));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

fn mutate(stream: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    for _ in 0..1 + random.below(6) {
        let at = random.below(stream.len() + 1);
        let end = (at + random.below(60)).min(stream.len());
        match random.below(7) {
            0 => drop(stream.splice(at..at, random.pick(PIECES).iter().copied())),
            1 => drop(stream.splice(at..end, random.pick(PIECES).iter().copied())),
            2 => drop(stream.drain(at..end)),
            3 => {
                let again = stream[at..end].to_vec();
                drop(stream.splice(at..at, again));
            }
            4 if at < stream.len() => stream[at] ^= 1 << random.below(8),
            5 => stream.truncate(at),
            _ => {
                let other = random.pick(corpus);
                let from = random.below(other.len());
                let piece = other[from..(from + random.below(600)).min(other.len())].to_vec();
                drop(stream.splice(at..at, piece));
            }
        }
    }
}

fn deadline() -> Instant {
    let seconds = std::env::var("EDGELOOP_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Instant::now() + Duration::from_secs(seconds.unwrap_or(2))
}

/// A failing stream is kept beside the build, to become a fixture.
fn kept<R>(dialect: Dialect, stream: &[u8], run: impl FnOnce() -> R + std::panic::UnwindSafe) -> R {
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let path = std::env::temp_dir().join(format!("edgeloop-crasher-{dialect:?}.sse"));
        let written = std::fs::write(&path, stream);
        eprintln!("the stream that did it: {} ({written:?})", path.display());
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn every_stream_says_the_same_however_it_is_cut() {
    let corpus = corpus();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let deadline = deadline();
    for round in 0.. {
        for stream in &corpus {
            let (dialect, _) = *random.pick(&Dialect::ALL);
            kept(dialect, stream, || {
                let whole = decode(dialect, &[stream]);
                let bytes: Vec<&[u8]> = stream.chunks(1).collect();
                if round == 0 && stream.len() < 20_000 {
                    assert_eq!(decode(dialect, &bytes), whole);
                }
                assert_eq!(decode(dialect, &cut(stream, &mut Random(round + 1))), whole);
            });
            if Instant::now() > deadline {
                return;
            }
        }
    }
}

#[test]
fn no_mutation_panics_or_depends_on_the_cuts() {
    let corpus = corpus();
    let seed = std::env::var("EDGELOOP_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or(0x1234_5678_9abc_def1));
    let (deadline, mut runs) = (deadline(), 0_u64);
    while Instant::now() < deadline {
        let mut stream = random.pick(&corpus).clone();
        mutate(&mut stream, &corpus, &mut random);
        let (dialect, _) = *random.pick(&Dialect::ALL);
        let seed = random.next() | 1;
        kept(dialect, &stream, || {
            let whole = decode(dialect, &[&stream]);
            assert_eq!(decode(dialect, &cut(&stream, &mut Random(seed))), whole);
        });
        runs += 1;
    }
    println!("{runs} mutated streams");
}
