//! Arguments that arrive as `{jsonPath, value}` pieces (Vertex's `partialArgs`), put together as JSON.

use super::json::Value;
use super::text::quote_into;

/// Longer paths are refused: writing recurses along them.
const MAX_STEPS: usize = 64;

/// More members of one object are refused: they are looked up one by one.
const MAX_MEMBERS: usize = 1024;

#[derive(Debug)]
enum Node {
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Text(String),
    Raw(String),
    Empty,
}

#[derive(Debug)]
pub struct Tree {
    root: Node,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { root: Node::Object(Vec::new()) }
    }
}

enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl Tree {
    /// Take one piece: strings append to what is there, other values replace it. None if it cannot be placed.
    pub fn apply(&mut self, piece: &Value) -> Option<()> {
        let path = piece.str("jsonPath")?;
        let node = steps(&path)?.iter().try_fold(&mut self.root, Node::step)?;
        if let Some(text) = piece.str("stringValue") {
            match node {
                Node::Text(known) => known.push_str(&text),
                _ => *node = Node::Text(text.into_owned()),
            }
        } else if let Some(value) = piece.get("numberValue").or_else(|| piece.get("boolValue")) {
            *node = Node::Raw(value.raw().to_owned());
        } else if piece.member("nullValue").is_some() {
            *node = Node::Raw("null".to_owned());
        }
        Some(())
    }

    pub fn json(&self) -> String {
        let mut out = String::new();
        self.root.write(&mut out);
        out
    }
}

impl Node {
    fn step(&mut self, step: &Step) -> Option<&mut Node> {
        match (&mut *self, step) {
            (Node::Empty, Step::Key(_)) => *self = Node::Object(Vec::new()),
            (Node::Empty, Step::Index(_)) => *self = Node::Array(Vec::new()),
            _ => {}
        }
        match (self, step) {
            (Node::Object(members), Step::Key(key)) => {
                let at = members.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                    if members.len() < MAX_MEMBERS {
                        members.push(((*key).to_owned(), Node::Empty));
                    }
                    members.len() - 1
                });
                members.get_mut(at).filter(|(name, _)| name == key).map(|(_, node)| node)
            }
            (Node::Array(items), Step::Index(index)) => {
                // The next one at most: a peer must not make us fill a hole.
                if *index == items.len() {
                    items.push(Node::Empty);
                }
                items.get_mut(*index)
            }
            _ => None,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Node::Object(members) => {
                list(out, '{', '}', members, |(key, node), out| {
                    quote_into(key, out);
                    out.push(':');
                    node.write(out);
                });
            }
            Node::Array(items) => list(out, '[', ']', items, Node::write),
            Node::Text(text) => quote_into(text, out),
            Node::Raw(raw) => out.push_str(raw),
            Node::Empty => out.push_str("null"),
        }
    }
}

fn list<T>(out: &mut String, open: char, close: char, items: &[T], write: impl Fn(&T, &mut String)) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

/// `$.name[0]['other name']` as steps.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, tail) = if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            (Step::Key(&name[..end]), &name[end..])
        } else {
            bracketed(rest.strip_prefix('[')?)?
        };
        steps.push(step);
        rest = tail;
    }
    (steps.len() <= MAX_STEPS).then_some(steps)
}

fn bracketed(inner: &str) -> Option<(Step<'_>, &str)> {
    for quote in ['\'', '"'] {
        if let Some(name) = inner.strip_prefix(quote) {
            let end = name.find(quote)?;
            return Some((Step::Key(&name[..end]), name[end + 1..].strip_prefix(']')?));
        }
    }
    let (digits, tail) = inner.split_once(']')?;
    Some((Step::Index(digits.parse().ok()?), tail))
}
